package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testHost is a host that has all that a flag may ask for.
func testHost(c *config.Config) Host {
	host := Host{Hostname: "host", Capabilities: c.Capabilities, SwapLimit: true, RecursiveRO: true}
	for i, d := range c.Devices {
		mode, id := os.FileMode(0o660), uint32(6)
		host.Devices = append(host.Devices, Device{Access: d.Access, LinuxDevice: specs.LinuxDevice{
			Path: d.Target, Type: "c", Major: 10, Minor: int64(i), FileMode: &mode, UID: &id, GID: &id,
		}})
	}
	return host
}

// goldens are sets of flags, by the name of the file with their spec. The file of the
// default has the whole spec, the others only what differs from it.
var goldens = map[string]struct {
	flags config.Flags
	args  []string
	image Image
	host  func(*Host)
	uid   uint32
}{
	"default":     {args: []string{"true"}},
	"image":       {image: Image{Entrypoint: []string{"/run"}, Cmd: []string{"a", "b"}, Env: []string{"PATH=/bin", "A=1"}, WorkingDir: "/srv/"}},
	"image-args":  {args: []string{"c"}, image: Image{Entrypoint: []string{"/run"}, Cmd: []string{"a", "b"}}},
	"entrypoint":  {flags: config.Flags{"entrypoint": {"sh"}, "env": {"A=2", "HOME=/h"}, "workdir": {"/w"}}, args: []string{"-c", "true"}, image: Image{Entrypoint: []string{"/run"}, Cmd: []string{"a"}, Env: []string{"A=1"}, WorkingDir: "/srv"}},
	"terminal":    {flags: config.Flags{"tty": {"true"}, "interactive": {"true"}, "hostname": {"box"}}, args: []string{"sh"}},
	"user":        {flags: config.Flags{"cap-add": {"SYS_ADMIN"}, "cap-drop": {"ALL"}, "security-opt": {"no-new-privileges", "apparmor=mine"}}, args: []string{"id"}, uid: 1000, host: func(h *Host) { h.AppArmor = "mine" }},
	"privileged":  {flags: config.Flags{"privileged": {"true"}, "device": {"/dev/a"}}, args: []string{"true"}},
	"host":        {flags: config.Flags{"network": {"host"}}, args: []string{"true"}},
	"read-only":   {flags: config.Flags{"read-only": {"true"}, "shm-size": {"1m"}}, args: []string{"true"}},
	"limits":      {flags: config.Flags{"memory": {"64m"}, "cpus": {"1.5"}, "pids-limit": {"9"}, "ulimit": {"nofile=100:200", "core=-1"}}, args: []string{"true"}},
	"no-swap":     {flags: config.Flags{"memory": {"64m"}}, args: []string{"true"}, host: func(h *Host) { h.SwapLimit = false }},
	"volumes":     {flags: config.Flags{"volume": {"/h:/x/y", "/h:/x:ro", "/s:/dev/shm:rslave"}, "tmpfs": {"/t:size=1m"}}, args: []string{"true"}},
	"mounts":      {flags: config.Flags{"mount": {"type=bind,src=/h,dst=/a,bind-recursive=disabled", "type=bind,src=/h,dst=/b,ro,bind-recursive=writable", "type=bind,src=/h,dst=/c,ro", "type=tmpfs,dst=/t,ro"}}, args: []string{"true"}},
	"old-kernel":  {flags: config.Flags{"mount": {"type=bind,src=/h,dst=/c,ro", "type=bind,src=/h,dst=/d,ro,bind-recursive=readonly,bind-propagation=rprivate"}}, args: []string{"true"}, host: func(h *Host) { h.RecursiveRO = false }},
	"devices":     {flags: config.Flags{"device": {"/dev/fuse", "/dev/a:/dev/b:r"}, "device-cgroup-rule": {"c 10:* rw"}}, args: []string{"true"}},
	"shared":      {flags: config.Flags{"network": {"host"}, "ipc": {"host"}, "pid": {"host"}, "uts": {"host"}, "cgroupns": {"host"}}, args: []string{"true"}},
	"no-ipc":      {flags: config.Flags{"ipc": {"none"}, "sysctl": {"net.ipv4.ip_forward=1", "net.ipv4.ping_group_range=1 0"}, "domainname": {"d"}, "oom-score-adj": {"5"}, "security-opt": {"systempaths=unconfined", "label=disable"}}, args: []string{"true"}},
	"cgroup":      {flags: config.Flags{"memory": {"64m"}, "memory-swap": {"-1"}, "memory-reservation": {"32m"}, "cpu-quota": {"50000"}, "cpu-shares": {"512"}, "cpuset-cpus": {"0"}, "cpuset-mems": {"0"}}, args: []string{"true"}},
	"annotations": {flags: config.Flags{"label": {"a=1", "b", "a=2"}, "annotation": {"c=3"}, "name": {"box"}}, args: []string{"true"}, image: Image{Labels: map[string]string{"a": "0", "d": "4"}}},
}

func TestGolden(t *testing.T) {
	whole := map[string]any{}
	for name, tt := range goldens {
		flags, err := config.Parse(tt.flags)
		if err != nil {
			t.Fatal(name, err)
		}
		flags.Args = tt.args
		merged, err := Merge(*flags, tt.image)
		if err != nil {
			t.Fatal(name, err)
		}
		host := testHost(merged)
		if tt.host != nil {
			tt.host(&host)
		}
		s := New(merged, host, Container{
			ID: "0123456789ab", Root: "/root-fs", CgroupsPath: "/minirun-0123456789ab",
			User: specs.User{UID: tt.uid, GID: tt.uid, AdditionalGids: []uint32{tt.uid}}, Home: "/home",
		})
		whole[name] = generic(t, s)
	}
	for name, got := range whole {
		t.Run(name, func(t *testing.T) {
			if name != "default" {
				got = differing(whole["default"], got)
			}
			text, err := json.MarshalIndent(got, "", "\t")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".json"), append(text, '\n'))
		})
	}
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

// generic is a spec as encoding/json reads it, with a line for each mount.
func generic(t *testing.T, s *specs.Spec) any {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var g map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a limit may be larger than a float64 can tell
	if err := d.Decode(&g); err != nil {
		t.Fatal(err)
	}
	var lines []any
	for _, m := range s.Mounts {
		lines = append(lines, strings.Join([]string{m.Destination, m.Type, m.Source, strings.Join(m.Options, ",")}, " "))
	}
	g["mounts"] = lines
	return g
}

// differing leaves of got what differs from base: an object's members, or the
// whole of another value. A member that got lacks is null.
func differing(base, got any) any {
	b, isObject := base.(map[string]any)
	g, isObjectToo := got.(map[string]any)
	if !isObject || !isObjectToo {
		return got
	}
	out := map[string]any{}
	for key, value := range g {
		if !cmp.Equal(b[key], value) {
			out[key] = differing(b[key], value)
		}
	}
	for key := range b {
		if _, found := g[key]; !found {
			out[key] = nil
		}
	}
	return out
}

func TestMergeRefuses(t *testing.T) {
	if _, err := Merge(config.Config{}, Image{}); !errors.Is(err, ErrNoCommand) {
		t.Errorf("no command: %v", err)
	}
	if _, err := Merge(config.Config{Entrypoint: &[]string{}}, Image{Entrypoint: []string{"a"}, Cmd: []string{"b"}}); !errors.Is(err, ErrNoCommand) {
		t.Errorf("--entrypoint '': %v", err)
	}
	if _, err := Merge(config.Config{Args: []string{"true"}}, Image{StopSignal: "SIGNONE"}); err == nil {
		t.Error("a stop signal that does not exist: no error")
	}
	if _, err := Merge(config.Config{Args: []string{"true"}}, Image{WorkingDir: "srv"}); err == nil {
		t.Error("a relative working directory: no error")
	}
}

// Seen with dockerd 20.10.
func TestEnvironmentWithoutEquals(t *testing.T) {
	for env, want := range map[string]string{
		"A=1|A|B|": defaultPath + "|HOSTNAME=h|HOME=/root",
		"PATH|C=2": "HOSTNAME=h|C=2|HOME=/root",
		"HOME=|C=": defaultPath + "|HOSTNAME=h|C=|HOME=/root",
	} {
		c := &config.Config{Env: strings.Split(env, "|")}
		if got := strings.Join(environment(c, "h", "/root"), "|"); got != want {
			t.Errorf("%s: %s, want %s", env, got, want)
		}
	}
}
