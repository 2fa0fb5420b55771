package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher/config"
)

func parse(t *testing.T, flags config.Flags) *config.Config {
	t.Helper()
	c, err := config.Parse(flags)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An error of a bind mount says what to do.
func TestInspectMounts(t *testing.T) {
	disk := testenv.Disk(t, "") // private, whatever the mount is below which it is (systemd shares all)
	if err := unix.Mount("", disk, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flags      config.Flags
		want, hint string
	}{
		{config.Flags{"mount": {"type=bind,src=" + disk + "/no,dst=/x"}}, "bind source path does not exist: " + disk + "/no", "make it first, or check the path"},
		{
			config.Flags{"volume": {disk + ":/x:rslave"}},
			"path " + disk + " is mounted on " + disk + " but it is not a shared or slave mount",
			"leave out rslave, or share the mount first: mount --make-shared " + disk,
		},
	} {
		_, _, err := Inspect(parse(t, tt.flags))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || hint.Text(err) != tt.hint {
			t.Errorf("%v, hint %q; want %q, %q", err, hint.Text(err), tt.want, tt.hint)
		}
	}
	if err := unix.Mount("", disk, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Inspect(parse(t, config.Flags{"volume": {disk + ":/x:rslave"}})); err != nil {
		t.Error(err)
	}
}

// What a host does not have is refused, and looking for it changes nothing.
func TestInspectRefuses(t *testing.T) {
	host := t.TempDir()
	for _, tt := range []struct {
		flags config.Flags
		want  string
	}{
		{config.Flags{"device": {"/dev/nosuch"}}, "no such file or directory"},
		{config.Flags{"device": {"/etc/passwd"}}, "not a device node"},
		{config.Flags{"device": {"/etc"}}, "no device node is in the directory"},
		{config.Flags{"device": {"vendor.com/class=nosuch"}}, "no description in /etc/cdi"},
		{config.Flags{"sysctl": {"net.ipv4.nosuch=1"}}, "no such parameter"},
		{config.Flags{"cpuset-cpus": {"0,8000"}}, "this machine has 0"},
		{config.Flags{"cpuset-mems": {"8000"}}, "this machine has 0"},
		{config.Flags{"cpus": {"100000"}}, "processors of this machine"},
		{config.Flags{"volume": {host + "/new:/x"}, "device": {"/dev/nosuch"}}, "no such file or directory"},
	} {
		_, _, err := Inspect(parse(t, tt.flags))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want an Error with %q", tt.flags, err, tt.want)
		}
	}
	if _, _, err := Inspect(parse(t, config.Flags{"volume": {host + "/new:/x"}})); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(host); err != nil || len(entries) > 0 {
		t.Errorf("made: %v, %v", entries, err)
	}
}

func TestInspectDevice(t *testing.T) {
	host, _, err := Inspect(parse(t, config.Flags{"device": {"/dev/null:/dev/nothing:r"}}))
	if err != nil {
		t.Fatal(err)
	}
	if len(host.Devices) != 1 {
		t.Fatalf("got %+v", host.Devices)
	}
	d := host.Devices[0]
	if d.Path != "/dev/nothing" || d.Type != "c" || d.Major != 1 || d.Minor != 3 || d.Access != "r" {
		t.Errorf("got %+v", d)
	}
}

func TestMakeSources(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "new")
	if err := makeSources(parse(t, config.Flags{"volume": {dir + ":/x"}}).Mounts); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		t.Errorf("the host directory was not made: %v", err)
	}
}

func TestAppArmorProfile(t *testing.T) {
	loaded := loadedProfiles{enabled: true, known: true, list: []byte("mine (enforce)\ndocker-default (enforce)\n")}
	other := loadedProfiles{enabled: true, known: true, list: []byte("not-docker-default (enforce)\n")}
	for _, tt := range []struct {
		flags        config.Flags
		loaded       loadedProfiles
		want         string
		warns, fails bool
	}{
		{nil, loaded, "docker-default", false, false},
		{nil, other, "", false, false},
		{nil, loadedProfiles{}, "", false, false},
		{config.Flags{"privileged": {"true"}}, loaded, "", false, false},
		{config.Flags{"security-opt": {"apparmor=unconfined"}}, loaded, "", false, false},
		{config.Flags{"security-opt": {"apparmor=mine"}}, loaded, "mine", false, false},
		{config.Flags{"security-opt": {"apparmor=mine"}, "privileged": {"true"}}, loaded, "mine", false, false},
		{config.Flags{"security-opt": {"apparmor=mine"}}, other, "", false, true},
		{config.Flags{"security-opt": {"apparmor=mine"}}, loadedProfiles{}, "", true, false},
		{config.Flags{"security-opt": {"apparmor=mine"}}, loadedProfiles{enabled: true}, "mine", false, false},
	} {
		got, warning, err := apparmorProfile(parse(t, tt.flags), tt.loaded)
		if got != tt.want || (warning != "") != tt.warns || (err != nil) != tt.fails {
			t.Errorf("%v with %+v: got %q, %q, %v", tt.flags, tt.loaded, got, warning, err)
		}
	}
}

func TestCheckReadOnly(t *testing.T) {
	for options, want := range map[string]string{
		"":                            "",
		",ro":                         "read-only, but not what is mounted below it",
		",ro,bind-recursive=writable": "",
		",ro,bind-recursive=disabled": "",
		",ro,bind-recursive=readonly,bind-propagation=rprivate": "no mount_setattr(2)",
	} {
		m := parse(t, config.Flags{"mount": {"type=bind,src=/h,dst=/x" + options}}).Mounts[0]
		warning, err := checkReadOnly(m)
		if err != nil {
			warning = err.Error()
		}
		if (warning == "") != (want == "") || !strings.Contains(warning, want) {
			t.Errorf("%s: got %q, want %q", options, warning, want)
		}
	}
}
