package launcher

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/launcher/plan"
	"github.com/minirun/minirun/launcher/spec"
	"github.com/minirun/minirun/launcher/userns"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plans are flags, the name being that of the file with their plan.
var plans = map[string]struct {
	flags config.Flags
	uid   uint32
	host  func(*spec.Host)
	plan  func(*plan.Host)
	spec  func(*specs.Spec)
}{
	"default":    {},
	"tty":        {flags: config.Flags{"tty": {"true"}}},
	"workdir":    {flags: config.Flags{"workdir": {"/a/b"}}},
	"user":       {uid: 1000},
	"ulimit":     {flags: config.Flags{"ulimit": {"nofile=100:200", "core=-1"}}},
	"cap-add":    {flags: config.Flags{"cap-add": {"SYS_ADMIN"}, "cap-drop": {"MKNOD"}}},
	"confined":   {flags: config.Flags{"security-opt": {"no-new-privileges", "apparmor=mine"}}, host: func(h *spec.Host) { h.AppArmor = "mine" }},
	"unmasked":   {flags: config.Flags{"security-opt": {"systempaths=unconfined"}}},
	"privileged": {flags: config.Flags{"privileged": {"true"}}},
	"volume":     {flags: config.Flags{"volume": {"/h:/x/y", "/h:/x:ro", "/s:/dev/shm:rslave", "/proc:/proc", "/h:/proc/cpuinfo"}}},
	"mount":      {flags: config.Flags{"mount": {"type=bind,src=/h,dst=/a,bind-recursive=disabled", "type=bind,src=/h,dst=/b,ro,bind-recursive=writable", "type=bind,src=/h,dst=/c,ro", "type=tmpfs,dst=/t,ro,tmpfs-mode=700"}}},
	"tmpfs":      {flags: config.Flags{"tmpfs": {"/t:size=1m,exec,noatime,sync"}}},
	"dev":        {flags: config.Flags{"volume": {"/dev:/dev"}}},
	"read-only":  {flags: config.Flags{"read-only": {"true"}, "tmpfs": {"/t:ro"}}},
	"device":     {flags: config.Flags{"device": {"/dev/fuse", "/dev/a:/dev/x/b:r"}}},
	"shared":     {flags: config.Flags{"network": {"host"}, "ipc": {"host"}, "pid": {"host"}, "uts": {"host"}, "cgroupns": {"host"}}},
	"ipc":        {flags: config.Flags{"ipc": {"none"}}},
	"names":      {flags: config.Flags{"hostname": {"h"}, "domainname": {"d"}}},
	"join":       {spec: joinsPod},
	"sysctl":     {flags: config.Flags{"sysctl": {"net.ipv4.ip_forward=1", "kernel.shmmax=5"}}},
	"oom":        {flags: config.Flags{"oom-score-adj": {"-5"}}},
	"userns": {
		flags: config.Flags{"userns": {"auto"}, "volume": {"/h:/x"}, "device": {"/dev/fuse"}, "ulimit": {"nofile=100:200"}, "oom-score-adj": {"-5"}},
		host:  func(h *spec.Host) { h.IDs = &spec.IDs{UIDs: 65536, GIDs: 65536} }, plan: func(h *plan.Host) { h.UserNamespace = true },
	},
	"cgroup2":     {plan: func(h *plan.Host) { h.Unified = true; h.Cgroups = nil }},
	"cgroup2host": {flags: config.Flags{"cgroupns": {"host"}}, plan: func(h *plan.Host) { h.Unified = true; h.Cgroups = nil }},
}

// joinsPod has a container join the namespaces of a Pod.
func joinsPod(s *specs.Spec) {
	for i, n := range s.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace || n.Type == specs.IPCNamespace || n.Type == specs.UTSNamespace {
			s.Linux.Namespaces[i].Path = "/proc/7/ns/" + string(n.Type)
		}
	}
}

// testPlan makes the plan of flags on a machine that has everything.
func testPlan(t *testing.T, given config.Flags, uid uint32, onHost func(*spec.Host), onPlan func(*plan.Host), change func(*specs.Spec)) (*plan.Plan, error) {
	t.Helper()
	flags, err := config.Parse(given)
	if err != nil {
		t.Fatal(err)
	}
	flags.Args = []string{"true"}
	if flags, err = spec.Merge(*flags, spec.Image{}); err != nil {
		t.Fatal(err)
	}
	host := spec.Host{Hostname: "host", Capabilities: flags.Capabilities, SwapLimit: true, RecursiveRO: true}
	for i, d := range flags.Devices {
		mode, id := os.FileMode(0o660), uint32(6)
		host.Devices = append(host.Devices, spec.Device{Access: d.Access, LinuxDevice: specs.LinuxDevice{
			Path: d.Target, Type: "c", Major: 10, Minor: int64(i), FileMode: &mode, UID: &id, GID: &id,
		}})
	}
	if onHost != nil {
		onHost(&host)
	}
	s := spec.New(flags, host, spec.Container{
		ID: "0123456789ab", Root: "/root-fs", CgroupsPath: "/minirun-0123456789ab",
		User: specs.User{UID: uid, GID: uid, AdditionalGids: []uint32{uid}}, Home: "/home",
	})
	if change != nil {
		change(s)
	}
	c := &Container{state: State{Name: "0123456789ab"}}
	if flags.OwnIDs > 0 {
		c.ids = &userns.Namespace{IDs: userns.Range{First: 1000000, Count: flags.OwnIDs}, User: os.Stdin}
	}
	l := &launched{o: Options{Spec: s}, command: newLibcontainerProcess(s, s.Process.Args, nil)}
	cfg, err := c.configure(l)
	if err != nil {
		t.Fatal(err)
	}
	if c.ids != nil {
		cfg.Namespaces.Add(configs.NEWUSER, "/proc/7/fd/0") // not this process's
	}
	if s.Process.Terminal {
		l.command.ConsoleSocket, l.command.ConsoleWidth, l.command.ConsoleHeight = os.Stdin, 80, 24
	}
	machine := plan.Host{Kcore: true, Cgroups: []plan.CgroupMount{
		{Name: "cpu,cpuacct", Own: "/sys/fs/cgroup/cpu,cpuacct/minirun-0123456789ab"}, {Name: "systemd", Own: "/sys/fs/cgroup/systemd/minirun-0123456789ab"},
	}}
	if onPlan != nil {
		onPlan(&machine)
	}
	return plan.New(plan.Container{ID: c.state.Name, Config: cfg, Process: l.command, Console: l.consoleNumber(), Joined: l.joinedNumber(), Filter: true, Users: c.ids != nil}, machine)
}

// The default's file has the whole plan, the others have the lines that differ from it.
func TestPlanGolden(t *testing.T) {
	dir, err := filepath.Abs("testdata/plan")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir("/") // which configure does too
	whole := map[string][]string{}
	for name, tt := range plans {
		p, err := testPlan(t, tt.flags, tt.uid, tt.host, tt.plan, tt.spec)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		whole[name] = strings.SplitAfter(p.String(), "\n")
	}
	for name, lines := range whole {
		t.Run(name, func(t *testing.T) {
			text := strings.Join(lines, "")
			if name != "default" {
				text = strings.Join(slices.Concat(without(whole["default"], lines, "-"), without(lines, whole["default"], "+")), "")
			}
			file := filepath.Join(dir, name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// without returns the lines of a that b lacks, with a prefix.
func without(a, b []string, prefix string) []string {
	var rest []string
	for _, line := range a {
		if !slices.Contains(b, line) {
			rest = append(rest, prefix+line)
		}
	}
	return rest
}

// What no plan expresses is libcontainer's.
func TestNotExpressible(t *testing.T) {
	t.Chdir("/")
	for want, tt := range map[string]struct {
		flags  config.Flags
		change func(*specs.Spec)
	}{
		"hooks in the container, or after its start or end": {change: func(s *specs.Spec) { s.Hooks = &specs.Hooks{Poststart: []specs.Hook{{Path: "/bin/true"}}} }},
		"a tmpfs with a copy of what it hides": {change: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/t", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
		}},
		"a mount with mapped IDs": {change: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/t", Type: "bind", Source: "/h", Options: []string{"rbind", "idmap"}})
		}},
		"a mount in /proc":                       {flags: config.Flags{"tmpfs": {"/proc/bus"}}},
		"a mount on the root":                    {change: mountAt("/.")},
		"a mount point with ..":                  {change: mountAt("/a/../b")},
		"a namespace that exists of type NEWPID": {change: func(s *specs.Spec) { s.Linux.Namespaces[1].Path = "/proc/1/ns/pid" }},
		"a namespace of type NEWTIME":            {change: namespace(specs.TimeNamespace)},
		"the host's mount namespace":             {change: func(s *specs.Spec) { s.Linux.Namespaces = s.Linux.Namespaces[1:] }},
		"SELinux labels":                         {change: func(s *specs.Spec) { s.Linux.MountLabel = "a" }},
		"propagation of the root":                {change: func(s *specs.Spec) { s.Linux.RootfsPropagation = "shared" }},
		"a personality":                          {change: func(s *specs.Spec) { s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32} }},
		"capabilities that are not set":          {change: func(s *specs.Spec) { s.Process.Capabilities = nil }},
		"a mount option of 256 bytes or more": {change: func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/t", Type: "tmpfs", Source: "tmpfs", Options: []string{"mpol=" + strings.Repeat("a", 256)}})
		}},
		"an environment variable without a name or value": {change: func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "=a") }},
	} {
		_, err := testPlan(t, tt.flags, 0, nil, nil, tt.change)
		var why plan.NotExpressible
		if !errors.As(err, &why) || string(why) != want {
			t.Errorf("%v, want not expressible: %s", err, want)
		}
	}
}

func mountAt(path string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: path, Type: "tmpfs"}) }
}

func namespace(kind specs.LinuxNamespaceType) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind}) }
}
