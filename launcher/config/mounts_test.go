package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMounts(t *testing.T) {
	t.Chdir("/usr/lib")
	bound := func(flag string, change func(*Mount)) []Mount {
		m := Mount{Flag: flag, Type: Bind, Source: "/h", Target: "/x", Recursion: RecursionEnabled, Propagation: "rprivate"}
		change(&m)
		return []Mount{m}
	}
	tmpfs := func(flag, target string, options ...string) Mount {
		return Mount{Flag: flag, Type: Tmpfs, Target: target, Options: options}
	}
	for _, tt := range []struct {
		name  string
		flags Flags
		want  []Mount
	}{
		{"volume", Flags{"volume": {"/h:/x"}}, bound("--volume /h:/x", func(m *Mount) { m.Create = true })},
		{"volume options", Flags{"volume": {"/h/:/x/:ro,z,rslave,cached"}}, bound("--volume /h/:/x/:ro,z,rslave,cached", func(m *Mount) {
			m.Create, m.ReadOnly, m.Propagation = true, true, "rslave"
		})},
		{"volume of the working directory", Flags{"volume": {"./h:/x:rw,Z"}}, bound("--volume ./h:/x:rw,Z", func(m *Mount) {
			m.Create, m.Source = true, "/usr/lib/h"
		})},
		{"mount bind", Flags{"mount": {"type=bind,src=/h,dst=/x,readonly"}}, bound("--mount type=bind,src=/h,dst=/x,readonly", func(m *Mount) { m.ReadOnly = true })},
		{"mount relative", Flags{"mount": {"type=BIND,source=./h,target=/x,ro=false"}}, bound("--mount type=BIND,source=./h,target=/x,ro=false", func(m *Mount) { m.Source = "/usr/lib/h" })},
		{"not recursive", Flags{"mount": {"type=bind,src=/h,dst=/x,bind-recursive=disabled"}}, bound("--mount type=bind,src=/h,dst=/x,bind-recursive=disabled", func(m *Mount) { m.Recursion = RecursionDisabled })},
		{"not recursive, older", Flags{"mount": {"type=bind,src=/h,dst=/x,bind-nonrecursive"}}, bound("--mount type=bind,src=/h,dst=/x,bind-nonrecursive", func(m *Mount) { m.Recursion = RecursionDisabled })},
		{"writable below", Flags{"mount": {"type=bind,src=/h,dst=/x,ro,bind-recursive=writable"}}, bound("--mount type=bind,src=/h,dst=/x,ro,bind-recursive=writable", func(m *Mount) {
			m.Recursion, m.ReadOnly = RecursionWritable, true
		})},
		{"read-only below", Flags{"mount": {"type=bind,src=/h,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate"}}, bound("--mount type=bind,src=/h,dst=/x,ro,bind-recursive=readonly,bind-propagation=rprivate", func(m *Mount) {
			m.Recursion, m.ReadOnly = RecursionReadOnly, true
		})},
		{"mount tmpfs", Flags{"mount": {"type=tmpfs,destination=/x,tmpfs-size=1m,tmpfs-mode=1777"}}, []Mount{
			tmpfs("--mount type=tmpfs,destination=/x,tmpfs-size=1m,tmpfs-mode=1777", "/x", "noexec", "nosuid", "nodev", "size=1048576", "mode=1777"),
		}},
		{"tmpfs", Flags{"tmpfs": {"/x:exec,size=1m"}}, []Mount{tmpfs("--tmpfs /x:exec,size=1m", "/x", "nosuid", "nodev", "exec", "size=1m")}},
		{"the same tmpfs twice", Flags{"tmpfs": {"/x", "/x/:exec"}}, []Mount{tmpfs("--tmpfs /x/:exec", "/x", "nosuid", "nodev", "exec")}},
		{"parents first", Flags{"tmpfs": {"/a/b/c", "/a"}}, []Mount{
			tmpfs("--tmpfs /a", "/a", "noexec", "nosuid", "nodev"),
			tmpfs("--tmpfs /a/b/c", "/a/b/c", "noexec", "nosuid", "nodev"),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse(tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.Mounts); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMountsRefused(t *testing.T) {
	for _, tt := range []struct {
		flag, value, want string
	}{
		{"volume", "data:/x", `"data" is not a path`},
		{"volume", "x", "not HOST:CONTAINER"},
		{"volume", "", "not HOST:CONTAINER"},
		{"volume", "/..", "cannot be /"},
		{"volume", "/h:x", "not absolute"},
		{"volume", "/h:/", "cannot be /"},
		{"volume", "/h:/x:rx", `unknown option "rx"`},
		{"volume", "/h:/x:", `unknown option ""`},
		{"volume", "/h:/x:ro,rw", "ro and rw: only one"},
		{"volume", "/h:/x:z,Z", "z and Z: only one"},
		{"volume", "/h:/x:slave,private", "slave and private: only one"},
		{"volume", "/h:/x:cached,delegated", "cached and delegated: only one"},
		{"volume", "/h:/x:nocopy", "nocopy is for volumes"},
		{"mount", "", "not a list of KEY=VALUE"},
		{"mount", "type=bind,src=/h", "target is required"},
		{"mount", "src=a,dst=/x", "no named volumes"},
		{"mount", "type=npipe,dst=/x", `unknown type "npipe"`},
		{"mount", "type=volume,dst=/x,ro", "cannot be read-only"},
		{"mount", "dst=/x,tmpfs-size=1m", `unexpected key "tmpfs-size"`},
		{"mount", "bind,src=/h,dst=/x", `"bind" is not KEY=VALUE`},
		{"mount", "type=bind,src=h,dst=/x", `"h" is not an absolute path`},
		{"mount", "type=tmpfs,dst=/x,frob=1", `unexpected key "frob"`},
		{"mount", "type=tmpfs,dst=/x,src=/h", `unexpected key "source" for type=tmpfs`},
		{"mount", "type=bind,src=/h,dst=/x,tmpfs-size=1m", `unexpected key "tmpfs-size" for type=bind`},
		{"mount", "type=bind,src=/h,dst=/x,readonly=maybe", `readonly "maybe"`},
		{"mount", "type=bind,src=/h,dst=/x,bind-propagation=some", `unknown option "some"`},
		{"mount", "type=bind,src=/h,dst=/x,bind-propagation=shared", "do not reach the host"},
		{"volume", "/h:/x:rshared", "do not reach the host"},
		{"mount", "type=bind,src=/h,dst=/x,bind-recursive=some", `unknown bind-recursive "some"`},
		{"mount", "type=bind,src=/h,dst=/x,bind-recursive=writable", "for a mount with readonly"},
		{"mount", "type=bind,src=/h,dst=/x,ro,bind-recursive=readonly", "needs bind-propagation=rprivate"},
		{"mount", "type=tmpfs,dst=/x,tmpfs-mode=rwx", `tmpfs-mode "rwx"`},
		{"mount", "type=tmpfs,dst=/x,tmpfs-size=big", `tmpfs-size "big"`},
		{"tmpfs", "x", "not absolute"},
		{"tmpfs", "", "not absolute"},
		{"tmpfs", "/x:frob", `unknown option "frob"`},
		{"tmpfs", "/x:size=", `unknown option "size="`},
		{"tmpfs", "/x:size=x", `invalid value in "size=x"`},
		{"tmpfs", "/x:nr_inodes=50%", "invalid value"},
		{"tmpfs", "/x:mode=9", "invalid value"},
		{"tmpfs", "/x:uid=root", "invalid value"},
		{"device", "null", "not a device"},
		{"device", "", "not a device"},
		{"device", "/dev/null:/x:rwx", "not a device"},
		{"device", "/dev/null:/x:rr", "not a device"},
		{"device", "/dev/null:x", "not a device"},
		{"device-cgroup-rule", "x", "not TYPE MAJOR:MINOR ACCESS"},
		{"device-cgroup-rule", "c 1:3 x", "not TYPE"},
		{"device-cgroup-rule", "d 1:3 r", "not TYPE"},
		{"device-cgroup-rule", "c 1 r", "not TYPE"},
		{"gpus", "", "not a list"},
		{"gpus", "many", `"many" is neither all nor a number`},
		{"gpus", "device=/", "is not a device"},
		{"gpus", "driver=other", "unknown"},
		{"shm-size", "", "not a size"},
		{"shm-size", "-1", "not a size"},
	} {
		refused(t, Flags{tt.flag: {tt.value}}, tt.want)
	}
	refused(t, Flags{"volume": {"/h:/x", "/h:/x/"}}, "duplicate mount point /x")
	refused(t, Flags{"volume": {"/h:/x"}, "tmpfs": {"/x"}}, "duplicate mount point /x")
	refused(t, Flags{"volume": {"/h:/x", "/x/y"}}, "hidden by the mount at /x")
	refused(t, Flags{"volume": {"/dev/x"}}, "hidden by the mount at /dev")
}

// Volumes without a source are a container's own directories. A -v that is given
// twice counts once.
func TestVolumes(t *testing.T) {
	c, err := Parse(Flags{"volume": {"/a", "/h:/x", "/a", "/h:/x"}, "mount": {"type=volume,dst=/b", "dst=/c/../d"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/a", "/b", "/d"}, c.Volumes); diff != "" || len(c.Mounts) != 1 {
		t.Error(diff, c.Mounts)
	}
}

// refused wants an [Error] that says so.
func refused(t *testing.T, flags Flags, want string) {
	t.Helper()
	_, err := Parse(flags)
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: got %v, want an Error with %q", flags, err, want)
	}
}

func TestDevices(t *testing.T) {
	c, err := Parse(Flags{
		"device":             {"/dev/a/:/dev/b", "vendor.com/class=name"},
		"device-cgroup-rule": {"c 10:* rw", "a *:* m"},
		"gpus":               {`"device=0,GPU-1",capabilities=compute`},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Device{{Flag: "--device /dev/a/:/dev/b", Host: "/dev/a", Target: "/dev/b", Access: "rwm"}}, c.Devices); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]DeviceRule{{"c", 10, -1, "rw"}, {"a", -1, -1, "m"}}, c.DeviceRules); diff != "" {
		t.Error(diff)
	}
	gpu := `--gpus "device=0,GPU-1",capabilities=compute`
	want := []CDIDevice{{"--device vendor.com/class=name", "vendor.com/class=name"}, {gpu, "nvidia.com/gpu=0"}, {gpu, "nvidia.com/gpu=GPU-1"}}
	if diff := cmp.Diff(want, c.CDIDevices); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{"all": "nvidia.com/gpu=all", "2": "nvidia.com/gpu=0 nvidia.com/gpu=1", "count=1,driver=amd": "amd.com/gpu=0"} {
		if got, err := gpus(text); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
}
