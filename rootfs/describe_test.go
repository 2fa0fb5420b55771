package rootfs

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The history has a step for each entry of the configuration and for each layer, the
// last first.
func TestHistory(t *testing.T) {
	one, two := makeTar(t, file("one", "1")), makeTar(t, file("two", strings.Repeat("2", 5000)))
	for name, tt := range map[string]struct {
		history string
		want    []string // layer, command and size
	}{
		"none":             {`null`, []string{"two  6656", "one  2048"}},
		"all":              {`[{"created_by":"ADD"},{"created_by":"RUN"}]`, []string{"two RUN 6656", "one ADD 2048"}},
		"without a layer":  {`[{"created_by":"ADD"},{"created_by":"ENV","empty_layer":true},{"created_by":"RUN"}]`, []string{"two RUN 6656", " ENV 0", "one ADD 2048"}},
		"one layer of two": {`[{"created_by":"ADD"}]`, []string{"two  6656", "one ADD 2048"}},
		"too many":         {`[{"created_by":"ADD"},{"created_by":"RUN"},{"created_by":"CMD"}]`, []string{" CMD 0", "two RUN 6656", "one ADD 2048"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			config := strings.Replace(configWith(t, digestOf(one), digestOf(two)), "{", `{"history":`+tt.history+",", 1)
			ref := saveImage(t, filepath.Join(t.TempDir(), "x.tar"), config, one, two)
			image := resolve(t, s, ref)
			steps, err := s.History(ref, "")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i, step := range steps {
				layer := map[string]string{digestOf(one): "one", digestOf(two): "two"}[step.Layer]
				got = append(got, layer+" "+step.CreatedBy+" "+strconv.FormatInt(step.Size, 10))
				if want := map[bool]string{true: digestOf([]byte(config))}[i == 0]; step.ID != want {
					t.Errorf("step %d: ID %q", i, step.ID)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q; %s", got, tt.want, image.Name)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/app:1", testImage(t, here, "a", "b"))
	s := newStore(t)
	image := resolve(t, s, host+"/app:1")
	resolve(t, s, host+"/app@"+image.Digest)
	if err := s.Tag(host+"/app:1", "app"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Describe("app", "")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{host + "/app:1", "docker.io/library/app:latest"}; !slices.Equal(got.RepoTags, want) {
		t.Errorf("tags %q", got.RepoTags)
	}
	if want := []string{host + "/app@" + image.Digest}; !slices.Equal(got.RepoDigests, want) {
		t.Errorf("digests %q", got.RepoDigests)
	}
	if want := map[string]string{"UpperDir": image.Layers[1], "LowerDir": image.Layers[0]}; cmp.Diff(want, got.GraphDriver.Data) != "" {
		t.Errorf("directories %q", got.GraphDriver.Data)
	}
	if got.Size != 4096 || strings.Join(got.Config.Cmd, " ") != "run a" || got.Config.User != "7" || got.Descriptor.Digest != image.Digest {
		t.Errorf("%+v", got)
	}
	if _, err := s.Describe("app", "linux/s390x"); err == nil || !strings.Contains(err.Error(), "not for linux/s390x") {
		t.Error(err)
	}
}
