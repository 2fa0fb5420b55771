package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestUserMounts(t *testing.T) {
	host := t.TempDir()
	for _, tt := range []struct {
		name string
		o    Options
		want []specs.Mount
	}{
		{"volume", Options{Volumes: []string{host + ":/x"}}, []specs.Mount{
			{Destination: "/x", Type: "bind", Source: host, Options: []string{"rbind", "rprivate"}},
		}},
		{"volume ro", Options{Volumes: []string{host + ":/x/:ro,z,rslave"}}, []specs.Mount{
			{Destination: "/x", Type: "bind", Source: host, Options: []string{"rbind", "ro", "rslave"}},
		}},
		{"mount bind", Options{Mounts: []string{"type=bind,src=" + host + ",dst=/x,readonly"}}, []specs.Mount{
			{Destination: "/x", Type: "bind", Source: host, Options: []string{"rbind", "rprivate", "ro"}},
		}},
		{"mount tmpfs", Options{Mounts: []string{"type=tmpfs,destination=/x,tmpfs-size=1m"}}, []specs.Mount{
			{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev", "size=1048576"}},
		}},
		{"tmpfs", Options{Tmpfs: []string{"/x:exec,size=1m"}}, []specs.Mount{
			{Destination: "/x", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "exec", "size=1m"}},
		}},
		{"parents first", Options{Tmpfs: []string{"/a/b/c", "/a"}}, []specs.Mount{
			{Destination: "/a", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev"}},
			{Destination: "/a/b/c", Type: "tmpfs", Source: "tmpfs", Options: []string{"noexec", "nosuid", "nodev"}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := userMounts(&tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUserMountsRefused(t *testing.T) {
	host := t.TempDir()
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Volumes: []string{"data:/x"}}, `"data" is not a path`},
		{Options{Volumes: []string{"/x"}}, "not HOST:CONTAINER"},
		{Options{Volumes: []string{host + ":x"}}, "not absolute"},
		{Options{Volumes: []string{host + ":/"}}, "cannot be /"},
		{Options{Volumes: []string{host + ":/x:rx"}}, `unknown option "rx"`},
		{Options{Volumes: []string{host + ":/x", host + ":/x/"}}, "duplicate mount point /x"},
		{Options{Mounts: []string{"type=bind,src=" + host + "/no,dst=/x"}}, "bind source path does not exist: " + host + "/no"},
		{Options{Mounts: []string{"type=bind,src=" + host}}, "target is required"},
		{Options{Mounts: []string{"src=a,dst=/x"}}, `type "volume"`},
		{Options{Mounts: []string{"type=tmpfs,dst=/x,frob=1"}}, `unexpected key "frob"`},
		{Options{Mounts: []string{"type=bind,src=" + host + ",dst=/x,readonly=maybe"}}, `readonly "maybe"`},
		{Options{Mounts: []string{"type=bind,src=" + host + ",dst=/x,bind-propagation=some"}}, `unknown propagation "some"`},
		{Options{Mounts: []string{"type=tmpfs,dst=/x,tmpfs-mode=rwx"}}, `tmpfs-mode "rwx"`},
		{Options{Tmpfs: []string{"x"}}, "not absolute"},
	} {
		_, err := userMounts(&tt.o)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want an Error with %q", tt.o, err, tt.want)
		}
	}
}

func TestVolumeMakesHostFolder(t *testing.T) {
	host := filepath.Join(t.TempDir(), "new")
	if _, err := parseVolume(host + ":/x"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(host); err != nil || !info.IsDir() {
		t.Errorf("the host folder was not made: %v", err)
	}
}

func TestParseDevice(t *testing.T) {
	device, rule, err := parseDevice("/dev/null:/dev/nothing:r")
	if err != nil {
		t.Fatal(err)
	}
	if device.Path != "/dev/nothing" || device.Type != "c" || device.Major != 1 || device.Minor != 3 || rule.Access != "r" || !rule.Allow {
		t.Errorf("got %+v, %+v", device, rule)
	}
	for _, text := range []string{"/dev/nosuch", "/etc/passwd", "null", "/dev/null:/x:rwx", "/dev/null:x"} {
		if _, _, err := parseDevice(text); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}
