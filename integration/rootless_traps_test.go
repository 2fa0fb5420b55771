package integration

import (
	"archive/tar"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"
)

// lacks checks what is said to a user whose machine lacks something.
func (u *ordinary) lacks(t *testing.T) {
	defer func() { u.env = nil }()
	own := filepath.Dir(u.minirun)
	tools := filepath.Join(u.home, "tools")
	run(t, exec.Command("sh", "-c", `mkdir "$1" && cp $(command -v newuidmap newgidmap) "$1" && chmod 755 "$1"/*`, "sh", tools)) // without set-uid bits or capabilities
	u.env = []string{"PATH=" + tools + ":" + own + ":/usr/bin:/bin"}
	u.check(t, asUser{"debian true", 125, "", "minirun: map user ids: newuidmap: write to uid_map failed: Operation not permitted\n" +
		"hint: it has lost its set-uid bit: sudo apt-get install --reinstall uidmap\n"})
	u.hangs(t, tools, "user", "newgidmap", "newuidmap")
	u.hangs(t, tools, "group", "newuidmap", "newgidmap")
	u.stopped(t, tools)
	u.env = []string{"PATH=" + own}
	u.check(t, asUser{"--pull never debian true", 125, "", "minirun: warning: newuidmap is not installed: the container has one user, 0\nhint: sudo apt-get install uidmap\n"})
	run(t, exec.Command("rm", "-rf", u.home+"/.local/share/minirun/one-id"))
	u.env = nil

	const mount = `mount --make-rprivate / && mkdir over && mount -t tmpfs none over && cd over && mkdir lower upper work both && mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none both && chmod 777 both && exec "$@"`
	u.says(t, u.asRoot(0, mount, "--root", u.home+"/over/both/store", "debian", "true"),
		"minirun: open the image store: "+u.home+"/over/both/store is on an overlay, which takes no layers\nhint: choose a directory on ext4, xfs, btrfs or tmpfs with --root\n")
	// The limit is a user namespace's own (namespaces(7)).
	u.says(t, u.asRoot(unix.CLONE_NEWUSER, `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`, "debian", "true"),
		"minirun: make a user namespace: this machine allows none (user.max_user_namespaces is 0)\nhint: sudo sysctl user.max_user_namespaces=15000, or run it with sudo\n")
}

// hangs checks what is said to a user of whose two tools one does not end.
func (u *ordinary) hangs(t *testing.T, tools, ids, works, hangs string) {
	t.Helper()
	withTools(t, tools, works, hangs, "exec sleep 1000")
	u.check(t, asUser{"debian true", 125, "", "minirun: map " + ids + " ids: " + tools + "/" + hangs + " has not ended after ten seconds\n" +
		"hint: run it by itself to see why; it may wait for the server that /etc/nsswitch.conf names for subid\n"})
	if out, err := exec.Command("pgrep", "-u", fmt.Sprint(u.uid), "-f", "sleep 1000").Output(); err == nil {
		t.Errorf("%s is left: %s", hangs, out)
	}
}

// stopped checks that time in which the launcher is stopped is not taken from a tool's ten
// seconds. The tool sleeps first, so that the launcher already waits.
func (u *ordinary) stopped(t *testing.T, tools string) {
	t.Helper()
	withTools(t, tools, "newuidmap", "newgidmap", `sleep 1; kill -STOP $PPID; sleep 11; kill -CONT $PPID; sleep 1; exec "$(PATH=/usr/bin:/bin command -v newgidmap)" "$@"`)
	u.check(t, asUser{"debian true", 0, "", ""})
}

// withTools fills a directory with one of the two tools, and a script in place of the other.
func withTools(t *testing.T, tools, works, other, script string) {
	t.Helper()
	run(t, exec.Command("sh", "-c", `cd "$1" && ln -sf "$(command -v "$2")" . && printf '#!/bin/sh\n%s\n' "$4" >script && chmod 755 script && mv script "$3"`, "sh", tools, works, other, script))
}

// asRoot is a launch of the user's, after root has run a script in namespaces of its own.
func (u *ordinary) asRoot(namespaces uintptr, script string, args ...string) *exec.Cmd {
	cmd := u.command("sh", append([]string{"-c", script, "sh", "setpriv", fmt.Sprintf("--reuid=%d", u.uid), fmt.Sprintf("--regid=%d", u.gid), "--clear-groups", u.minirun}, args...)...)
	all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<32 - 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | namespaces}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = all, all, true
	}
	return cmd
}

func (u *ordinary) says(t *testing.T, cmd *exec.Cmd, want string) {
	t.Helper()
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 125 || string(out) != want {
		t.Errorf("%q: status %d, %q, want %q", cmd.Args, cmd.ProcessState.ExitCode(), out, want)
	}
}

// layers checks what becomes of what a layer of a user's can have only in part: files
// that hide those of other layers, owners, and nodes.
func (u *ordinary) layers(t *testing.T) {
	lower := append(
		usrRoot(),
		directory("a"),
		&tar.Header{Name: "a/x", Mode: 0o644},
		&tar.Header{Name: "a/y", Mode: 0o644},
		directory("b"),
		&tar.Header{Name: "b/old", Mode: 0o644},
	)
	upper := []*tar.Header{
		{Name: "a/.wh.x"},
		directory("b"),
		{Name: "b/.wh..wh..opq"},
		{Name: "b/new", Mode: 0o644},
		{Name: "owned", Mode: 0o4755, Uid: 1000, Gid: 1001},
		{Typeflag: tar.TypeChar, Name: "node", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600},
	}
	file := filepath.Join(u.home, "layers.tar")
	writeImage(t, file, "layers", headersLayer(t, lower), headersLayer(t, upper))
	u.check(t, asUser{"load -q -i " + file, 0, "*", ""})
	u.check(t, asUser{"-v /usr:/usr:ro layers -- ls /a /b; stat -c %u:%g:%a /owned; test -p /fifo && ls /node", 2, "/a: y /b: new 1000:1001:4755", "cannot access '/node': No such file"})
	writeImage(t, file, "layers", headersLayer(t, append(lower, &tar.Header{Name: "srv", Uid: 70000})))
	u.check(t, asUser{"load -q -i " + file, 125, "", `"srv" belongs to user 70000`})
	u.check(t, asUser{"rmi layers", 0, "*", ""})
}

// usrRoot has programs where this machine's are bound: -v /usr:/usr:ro.
func usrRoot() []*tar.Header {
	link := func(name, to string) *tar.Header {
		return &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	return []*tar.Header{directory("usr"), link("bin", "usr/bin"), link("lib", "usr/lib"), link("lib64", "usr/lib64")}
}

func directory(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}
}

func headersLayer(t *testing.T, headers []*tar.Header) v1.Layer {
	t.Helper()
	return tarLayer(t, func(w *tar.Writer) error {
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeImage writes an image to a file as `docker save` does.
func writeImage(t *testing.T, file, as string, layers ...v1.Layer) {
	t.Helper()
	image := imageOf(t, layers...)
	tag, err := name.NewTag(as)
	if err == nil {
		err = tarball.WriteToFile(file, tag, image)
	}
	if err == nil {
		err = os.Chmod(file, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
