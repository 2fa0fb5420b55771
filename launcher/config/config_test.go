package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/minirun/minirun/internal/capname"
)

func TestDefaults(t *testing.T) {
	got, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Capabilities: DefaultCapabilities(), Seccomp: "default", ShmSize: 64 << 20,
		Network: NetworkBridge, IPC: IPCPrivate, CgroupManager: CgroupManagerCgroupfs,
		Labels: map[string]string{}, Annotations: map[string]string{}, Sysctls: map[string]string{},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(Config{}, "Given")); diff != "" {
		t.Error(diff)
	}
}

func TestParse(t *testing.T) {
	got, err := Parse(Flags{
		"tty": {"true"}, "sig-proxy": {"false"}, "stop-timeout": {"2"}, "attach": {"STDERR"}, "interactive": {"false"}, "user": {"a", "b"}, "entrypoint": {""}, "env": {"A=1"},
		"privileged": {"true"}, "cap-add": {"kill"}, "security-opt": {"no-new-privileges:true", "apparmor=x", "seccomp=f"},
		"network": {"host"}, "cgroup-manager": {"systemd"}, "label": {"a=b=c", "d"}, "name": {"box.1"},
		"workdir": {"/w"}, "hostname": {"h"}, "read-only": {"true"}, "device": {"/dev/a/../b:r"},
	})
	if err != nil {
		t.Fatal(err)
	}
	all := capname.All()
	slices.Sort(all)
	want := &Config{
		Entrypoint: &[]string{}, Env: []string{"A=1"}, User: "b", Workdir: "/w", Terminal: true, DropStdout: true,
		Signals:      Signals{Keep: true, KillAfter: 2e9, KillAtAll: true, StopSeconds: new(2)},
		Capabilities: all, NamedCapabilities: []string{"CAP_KILL"}, Privileged: true, NoNewPrivileges: true,
		AppArmor: "x", Seccomp: "f", ReadOnly: true, ShmSize: 64 << 20, Network: NetworkHost, Hostname: "h",
		Devices:       []Device{{Flag: "--device /dev/a/../b:r", Host: "/dev/b", Target: "/dev/b", Access: "r"}},
		CgroupManager: CgroupManagerSystemd, Name: "box.1", Labels: map[string]string{"a": "b=c", "d": ""},
		IPC: IPCPrivate, Annotations: map[string]string{}, Sysctls: map[string]string{},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), cmpopts.IgnoreFields(Config{}, "Given")); diff != "" {
		t.Error(diff)
	}
}

func TestNamespaces(t *testing.T) {
	c, err := Parse(Flags{
		"ipc": {"host"}, "pid": {"host"}, "uts": {"host"}, "cgroupns": {"host"}, "network": {"none"},
		"sysctl": {"net/ipv4/ip_forward=1", "net.core.somaxconn=9"}, "cgroup-parent": {"a/../b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sysctls := map[string]string{"net.ipv4.ip_forward": "1", "net.core.somaxconn": "9"}
	if c.IPC != IPCHost || !c.HostPID || !c.HostUTS || !c.HostCgroup || c.CgroupParent != "/b" || !cmp.Equal(c.Sysctls, sysctls) {
		t.Errorf("got %+v", c)
	}
	if c, err = Parse(Flags{"ipc": {""}, "pid": {""}, "uts": {""}, "cgroupns": {""}}); err != nil || c.IPC != IPCPrivate || c.HostPID || c.HostUTS || c.HostCgroup {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err = Parse(Flags{"ipc": {"shareable"}, "cgroupns": {"private"}}); err != nil || c.IPC != IPCPrivate || c.HostCgroup {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err = Parse(Flags{"name": {"/box"}, "label": {" a=b c"}}); err != nil || c.Name != "box" || c.Labels[" a"] != "b c" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestSeccomp(t *testing.T) {
	for _, tt := range []struct {
		flags Flags
		want  string
	}{
		{Flags{"privileged": {"true"}}, "unconfined"},
		{Flags{"privileged": {"true"}, "seccomp": {"default"}}, "default"},
		{Flags{"security-opt": {"seccomp=a", "seccomp:b"}}, "b"},
		{Flags{"seccomp": {"a"}, "security-opt": {"seccomp=a"}}, "a"},
	} {
		c, err := Parse(tt.flags)
		if err != nil || c.Seccomp != tt.want {
			t.Errorf("%v: got %v, %v", tt.flags, c, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ flag, value, want string }{
		{"workdir", "rel", "not an absolute path"},
		{"network", "bogus", "no such network"},
		{"cgroup-manager", "other", "no such manager"},
		{"security-opt", "seccomp=", "unknown option"},
		{"security-opt", "apparmor=", "unknown option"},
		{"security-opt", "no-new-privileges=maybe", "unknown option"},
		{"security-opt", "frob", "unknown option"},
		{"seccomp", "", "a profile is missing"},
		{"name", "x", "invalid container name"},
		{"name", "-ab", "invalid container name"},
		{"name", "a/b", "invalid container name"},
		{"name", "//ab", "invalid container name"},
		{"name", "/", "invalid container name"},
		{"name", strings.Repeat("a", 201), "longer than 200 bytes"},
		{"label", "a b=c", "contains white space"},
		{"label", "a\t=c", "contains white space"},
		{"cap-add", " SYS_ADMIN", "unknown capability"},
		{"pid", "private", "no such mode"},
		{"uts", "private", "no such mode"},
		{"label", "", "a name is missing"},
		{"label", "=x", "a name is missing"},
		{"cap-add", "", "unknown capability"},
		{"stop-signal", "SIGNONE", "is no signal"},
		{"stop-signal", "65", "is no signal"},
		{"stop-timeout", "soon", "not a number"},
		{"attach", "stdxx", "no such stream"},
		{"annotation", "=x", "a name is missing"},
		{"ipc", "shared", "no such IPC mode"},
		{"pid", "container:x", "no such mode"},
		{"uts", "x", "no such mode"},
		{"cgroupns", "x", "no such mode"},
		{"userns", "keep-id", "no such mode"},
		{"userns", "auto:size=0", "not a number of users"},
		{"userns", "auto:size=4294967296", "not a number of users"},
		{"userns", "auto:uidmapping=0:1:1", "not a number of users"},
		{"network", "", "no such network"},
		{"hostname", strings.Repeat("x", 65), "longer than 64 bytes"},
		{"sysctl", "net.ipv4.ip_forward", "a name or value is missing"},
		{"sysctl", "kernel.hostname=x", "not of a namespace"},
		{"security-opt", "systempaths=x", "unknown option"},
		{"security-opt", "label=", "unknown option"},
		{"frob", "1", "unknown flag"},
	} {
		refused(t, Flags{tt.flag: {tt.value}}, tt.want)
	}
	refused(t, Flags{"network": {"none", "none"}}, "a container has one network")
	refused(t, Flags{"uts": {"host"}, "hostname": {"x"}}, "the names are the host's")
	refused(t, Flags{"uts": {"host"}, "domainname": {"x"}}, "the names are the host's")
	refused(t, Flags{"network": {"host"}, "sysctl": {"net.ipv4.ip_forward=1"}}, "the network is the host's")
	refused(t, Flags{"ipc": {"host"}, "sysctl": {"kernel.shmmax=1"}}, "IPC is the host's")
	refused(t, Flags{"cgroup-manager": {"systemd"}, "cgroup-parent": {"/a"}}, "not a slice")
	refused(t, Flags{"seccomp": {"a"}, "security-opt": {"seccomp=b"}}, "--seccomp a names another profile")
}

// FuzzParse looks for a value that makes Parse panic, that it takes without having read it,
// or that it changes.
func FuzzParse(f *testing.F) {
	f.Add("label", "a=1")
	f.Add("security-opt", "seccomp=x")
	f.Add("volume", "/a:/b:ro,z")
	f.Add("mount", `type=bind,"src=/a,b",dst=/x,ro`)
	f.Add("tmpfs", "/x:size=1m,mode=700")
	f.Add("device", "/dev/a:/dev/b:rwm")
	f.Add("cpus", "1/2")
	f.Add("cpus", "1e-1")
	f.Add("volume", "/a")
	f.Add("attach", "STDIN")
	f.Add("ulimit", "nofile=100:-1")
	f.Fuzz(func(t *testing.T, name, value string) {
		flags := Flags{name: {value}}
		c, err := Parse(flags)
		if got := flags[name][0]; got != value {
			t.Errorf("the flag has become %q", got)
		}
		if (c == nil) != (err != nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "--") {
			t.Errorf("the error names no flag: %v", err)
		}
	})
}
