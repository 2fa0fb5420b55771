package cli

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/minirun/minirun/internal/capname"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// completion offers candidates for the value that is being typed. before is the part of the
// word in front of the value, such as --NAME=.
type completion func(k *completer, before, value string)

// oneOf offers fixed words.
func oneOf(choices ...string) completion {
	return func(k *completer, before, _ string) {
		for _, c := range choices {
			k.candidate(before, c, "")
		}
	}
}

// files offers fixed words, and files of the host.
func files(choices ...string) completion {
	return func(k *completer, before, value string) {
		oneOf(choices...)(k, before, value)
		if !strings.HasPrefix(value, "-") {
			k.files(before)
		}
	}
}

// capabilities offers capabilities with CAP_, and once something is typed also without, in
// the case that is typed.
func capabilities(k *completer, before, value string) {
	for _, name := range append(capname.All(), "ALL") {
		k.capability(before, value, name, "")
	}
}

func (k *completer) capability(before, value, name, after string) {
	if value != "" && value == strings.ToLower(value) {
		name = strings.ToLower(name)
	}
	k.candidate(before, name+after, "")
	if value != "" && len(name) > len("CAP_") {
		k.candidate(before, name[len("CAP_"):]+after, "")
	}
}

// callNames completes the last item of a list of system calls and groups.
func callNames(k *completer, before, list string) {
	before += list[:strings.LastIndexByte(list, ',')+1]
	for _, name := range syscalls.Groups() {
		k.candidate(before, name, syscalls.GroupDoc(name))
	}
	for _, name := range syscalls.Names() {
		k.candidate(before, name, "")
	}
}

// gates completes CAP=NAMES.
func gates(k *completer, before, value string) {
	if capability, names, ok := strings.Cut(value, "="); ok {
		callNames(k, before+capability+"=", names)
		return
	}
	for _, name := range capname.All() {
		k.capability(before, value, name, "=")
	}
}

// securityOption completes the options of --security-opt, and PROFILE of seccomp=PROFILE.
func securityOption(k *completer, before, value string) {
	if profile, ok := strings.CutPrefix(value, "seccomp="); ok {
		files("default", "unconfined")(k, before+"seccomp=", profile)
		return
	}
	oneOf("seccomp=", "apparmor=", "no-new-privileges")(k, before, value)
}

// volume completes HOST:CONTAINER:OPTIONS. The image is not known yet, so
// CONTAINER is completed with paths of the host: -v /srv:/srv is common.
func volume(k *completer, before, value string) {
	host, rest, found := strings.Cut(value, ":")
	if !found {
		k.files(before)
		return
	}
	before += host + ":"
	container, options, found := strings.Cut(rest, ":")
	if !found {
		k.files(before)
		return
	}
	before += container + ":" + options[:strings.LastIndexByte(options, ',')+1]
	oneOf("ro", "rw", "rshared", "rslave", "rprivate", "shared", "slave", "private")(k, before, "")
}

// mountSpec completes the last KEY=VALUE of a --mount.
func mountSpec(k *completer, before, value string) {
	done := value[:strings.LastIndexByte(value, ',')+1]
	field := value[len(done):]
	before += done
	key, _, found := strings.Cut(field, "=")
	switch {
	case !found:
		oneOf("type=", "source=", "target=", "readonly", "bind-propagation=", "tmpfs-size=", "tmpfs-mode=")(k, before, field)
	case key == "type":
		oneOf("type=bind", "type=tmpfs")(k, before, field)
	case key == "source" || key == "src" || key == "target" || key == "dst" || key == "destination":
		k.files(before + key + "=")
	case key == "bind-propagation":
		for _, p := range []string{"rprivate", "private", "rshared", "shared", "rslave", "slave"} {
			k.candidate(before+key+"=", p, "")
		}
	}
}

// userAndGroup completes USER[:GROUP] with the names of this machine, since the image
// follows the flag.
func userAndGroup(k *completer, before, value string) {
	if user, _, found := strings.Cut(value, ":"); found {
		groups(k, before+user+":", "")
		return
	}
	k.names(before, "/etc/passwd")
}

func groups(k *completer, before, _ string) { k.names(before, "/etc/group") }

// names offers the first fields of a file in the format of passwd(5).
func (k *completer) names(before, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(data)) {
		if name, _, found := strings.Cut(line, ":"); found {
			k.candidate(before, name, "")
		}
	}
}

// variables offers the names of minirun's own environment.
func variables(k *completer, before, _ string) {
	for _, pair := range os.Environ() {
		if name, _, found := strings.Cut(pair, "="); found && name != "" {
			k.candidate(before, name, "")
		}
	}
}

// ulimits are the limits that --ulimit takes, as in setrlimit(2).
func ulimits(k *completer, before, value string) {
	oneOf("core=", "cpu=", "data=", "fsize=", "locks=", "memlock=", "msgqueue=", "nice=", "nofile=",
		"nproc=", "rss=", "rtprio=", "rttime=", "sigpending=", "stack=")(k, before, value)
}

// signals offers the signals that end a container, or that programs often handle.
func signals(k *completer, before, value string) {
	oneOf("SIGHUP", "SIGINT", "SIGQUIT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGTERM", "SIGCONT", "SIGSTOP", "SIGWINCH")(k, before, value)
}

// containers offers the names of the containers that run, or of all containers.
func (k *completer) containers(all bool) {
	for _, c := range k.listContainers() {
		if s := c.Known(); all || s.Status != launcher.StatusStopped {
			k.candidate("", s.Name, "container of "+printable(s.Image))
		}
	}
}

// containerPaths offers the names of all containers, each with a colon for the path.
func (k *completer) containerPaths() {
	for _, c := range k.listContainers() {
		k.candidate("", c.Name()+":", "container of "+printable(c.Known().Image))
	}
}

// listContainers returns the containers, or nil if they cannot be read.
func (k *completer) listContainers() []*launcher.Container {
	found, _ := launcher.List(launcher.Dirs{Root: k.rootDir(), RunRoot: defaultRunRoot()}, func(error) {})
	return found
}

// rootDir returns the directory for images and containers, as [dirs] does.
func (k *completer) rootDir() string {
	root := k.root
	if root == "" {
		root, _ = defaultRoot()
	}
	root, _ = userRoot(root)
	return root
}

// platforms offers the most common platforms of images.
func platforms(k *completer, before, value string) {
	oneOf("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x")(k, before, value)
}

// processes offers the process IDs of this machine.
func (k *completer) processes() {
	found, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range found {
		name, err := os.ReadFile(file)
		if err == nil {
			k.candidate("", path.Base(path.Dir(file)), strings.TrimSpace(string(name)))
		}
	}
}

// imageArgument completes an IMAGE: names of the store, files, and the prefixes of
// other kinds of images.
func (k *completer) imageArgument() {
	k.images()
	for _, prefix := range []string{"dir:", "oci:", "docker-archive:", "oci-archive:"} {
		k.candidate("", prefix, "")
		if strings.HasPrefix(k.word, prefix) {
			k.files(prefix)
		}
	}
	k.candidate("", "docker-daemon:", "an image of a running dockerd")
	k.candidate("", "host:", "this machine's own root")
	if strings.HasPrefix(k.word, "/") || strings.HasPrefix(k.word, ".") || strings.HasPrefix(k.word, "~") {
		k.files("")
	}
}

// store returns the image store, or nil if it does not exist. Completion does not make one.
func (k *completer) store() *rootfs.Store {
	root := k.rootDir()
	if _, err := os.Stat(filepath.Join(root, "oci-layout")); err != nil {
		return nil
	}
	store, err := rootfs.OpenStore(root)
	if err != nil {
		return nil
	}
	return store
}

// images completes the names of the store.
func (k *completer) images() {
	store := k.store()
	if store == nil {
		return
	}
	images, err := store.Images()
	if err != nil {
		return
	}
	for _, image := range images {
		k.candidate("", familiar(image.Name), "image")
	}
}

// commandArgument completes a word of the command in the container: the first one with names
// in the image's PATH, all with paths of the image.
func (k *completer) commandArgument() {
	image := k.image()
	if image == nil {
		k.files("")
		return
	}
	defer image.Close()
	if strings.HasPrefix(k.word, "-") {
		return
	}
	if first := len(k.words) == 1; first && len(image.Config.Entrypoint) == 0 && !strings.Contains(k.word, "/") {
		for _, dir := range pathOf(image.Config.Env) {
			k.list(image, dir, "", k.word, true)
		}
		return
	}
	dir, name := path.Split(k.word)
	from := dir
	if !strings.HasPrefix(dir, "/") {
		from = path.Join("/", image.Config.WorkingDir, dir)
	}
	k.list(image, from, dir, name, false)
}

// list offers the entries of a directory of the image, except those whose names the shell
// would have to quote.
func (k *completer) list(image *rootfs.Image, dir, before, prefix string, commands bool) {
	entries, err := image.List(dir, prefix)
	if err != nil {
		return
	}
	for _, e := range entries {
		name := e.Name
		switch {
		case strings.ContainsFunc(name, quoted), commands && (!e.Mode.IsRegular() || e.Mode&0o111 == 0):
			continue
		case e.Mode.IsDir():
			name += "/"
		}
		k.candidate(before, name, "")
	}
}

func quoted(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("\"'`\\$&|;<>()[]{}*?!#~^", r)
}

// pathOf returns the directories of PATH in env, else of Docker's default.
func pathOf(env []string) []string {
	dirs := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, pair := range env {
		if value, ok := strings.CutPrefix(pair, "PATH="); ok {
			dirs = value
		}
	}
	return slices.DeleteFunc(strings.Split(dirs, ":"), func(dir string) bool { return dir == "" })
}

// image returns the image of the command line, or nil if it is not in the store. It fetches
// nothing.
func (k *completer) image() *rootfs.Image {
	ref := k.words[0]
	if dir, ok := strings.CutPrefix(ref, "dir:"); ok {
		return &rootfs.Image{Layers: []string{dir}}
	}
	if ref == "host:" {
		return &rootfs.Image{Layers: []string{"/"}}
	}
	store := k.store()
	if store == nil {
		return nil
	}
	image, err := store.Stored(ref)
	if err != nil {
		return nil
	}
	return image
}
