package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/launcher/config"
)

func TestMergeImage(t *testing.T) {
	image := Image{
		Cmd: []string{"sh"}, StopSignal: "SIGQUIT", Labels: map[string]string{"org.systemd.property.CPUWeight": "1", "a": "image", "maker": "somebody"},
		Volumes: []string{"/data", "/data/sub/", "/own", "/tmp/../twice", "/twice"},
	}
	flags := config.Config{Mounts: []config.Mount{{Target: "/own"}}, Volumes: []string{"/flag"}, Labels: map[string]string{"a": "b"}}
	c, err := Merge(flags, image)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/data", "/data/sub", "/flag", "/twice"}, c.Volumes); diff != "" {
		t.Error(diff)
	}
	want := map[string]string{"a": "b", "maker": "somebody", StopSignalKey: "SIGQUIT"}
	if diff := cmp.Diff(want, annotations(c)); diff != "" {
		t.Error(diff)
	}
	flags.StopSignal = "RTMIN+3"
	if c, err = Merge(flags, image); err != nil || c.StopSignal != "RTMIN+3" {
		t.Errorf("%q, %v", c.StopSignal, err)
	}
	every := Image{Cmd: []string{"sh"}, ExposedPorts: []string{"1-65535/tcp", "1-65535/udp"}}
	if c, err = Merge(config.Config{PublishAll: true}, every); err != nil || len(c.Exposed) != 2*65535 {
		t.Errorf("all ports: %v", err)
	}
	for want, image := range map[string]Image{
		`the image exposes more than 131072 ports`:               {ExposedPorts: append(every.ExposedPorts, "1-65534/tcp")},
		`the image's stop signal "NOSUCH" is no signal`:          {StopSignal: "NOSUCH"},
		`the image's volume "data" is not an absolute path`:      {Volumes: []string{"data"}},
		`the image's volume is /, which is the root itself`:      {Volumes: []string{"/.."}},
		`the image's working directory "w" is not an absolute p`: {WorkingDir: "w"},
	} {
		image.Cmd = []string{"sh"}
		if _, err := Merge(config.Config{PublishAll: true}, image); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
