package launcher

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	cgroupdevices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/launcher/arm"
	"github.com/minirun/minirun/launcher/plan"
)

// keptExample is the file of a launch as small as one can be.
func keptExample(t testing.TB) []byte {
	t.Helper()
	root := t.TempDir()
	c := &Container{dir: root + "/containers/a_b", state: State{Name: "a_b", ID: strings.Repeat("0123456789abcdef", 4), RunRoot: root + "/run"}}
	process := &specs.Process{Args: []string{"true"}, Env: []string{"HOSTNAME=0123456789ab"}, Cwd: "/"}
	l := &launched{
		o: Options{
			Spec: &specs.Spec{Root: &specs.Root{Path: c.state.RunRoot + "/.root"}, Process: process}, Rest: &Rest{Mounts: []string{c.state.RunRoot + "/.root"}},
		},
		plan:   &plan.Plan{Steps: []arm.PlanStep{{Kind: arm.Root, Path: c.state.RunRoot + "/.root"}, {Kind: arm.HostName, Path: c.state.shortID()}}},
		cgroup: &ownCgroup{Manager: keptCgroup{}, config: &cgroups.Cgroup{Resources: &cgroups.Resources{Devices: []*cgroupdevices.Rule{{Type: 'a', Major: -1, Minor: -1}}}}},
	}
	c.launched = l
	w := &keptWriter{c: c, l: l, k: &Keep{Layers: []string{root}, Silent: func() bool { return true }, root: root, key: []byte("key")}}
	_ = w.fill(&record{}) // there is no such cgroup, which does not matter to the format
	return w.bytes()
}

type keptCgroup struct{ cgroups.Manager }

func (keptCgroup) GetPaths() map[string]string {
	return map[string]string{"": "/sys/fs/cgroup/minirun-0123456789ab"}
}

// A launch has no text with the name or ID of the container that it was kept for.
func TestKeptReferences(t *testing.T) {
	data := keptExample(t)
	if !keptWhole(data) {
		t.Fatal("what was written is not whole")
	}
	for _, text := range []string{"a_b", "0123456789ab"} {
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("%q is in it", text)
		}
	}
	for _, text := range []string{"/containers/\x01n/upper", "HOSTNAME=\x01s", "minirun-\x01s", ".\x01s.json"} {
		if !bytes.Contains(data, []byte(text)) {
			t.Errorf("%q is not in it", text)
		}
	}
}

// Whatever is changed in a file, it is refused: by its sum, or, if somebody has made that
// right, where something would point out of the file.
func TestKeptWhole(t *testing.T) {
	data := keptExample(t)
	for at := range data {
		changed := bytes.Clone(data)
		changed[at] ^= 0x80
		if keptWhole(changed) {
			t.Fatalf("a change at %d is not seen", at)
		}
	}
	for _, size := range []int{0, 1, 8, 64, len(data) / 2, len(data) - 8} {
		if keptWhole(data[:size]) {
			t.Errorf("%d bytes of %d are taken for all", size, len(data))
		}
	}
	for at := 24; at < keptHeadSize; at += 4 {
		changed := bytes.Clone(data)
		binary.NativeEndian.PutUint32(changed[at:], 0xfffffff0)
		if keptWhole(keptResum(changed)) { // it is a number, or an offset, which would lead to where nothing is
			keptUse(changed)
		}
	}
}

func FuzzKept(f *testing.F) {
	f.Add(keptExample(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < keptHeadSize {
			return
		}
		data = keptResum(append(data, make([]byte, -len(data)&7)...))
		if keptWhole(data) {
			keptUse(data)
		}
	})
}

func TestPruneKept(t *testing.T) {
	dir := t.TempDir()
	k := &Keep{root: filepath.Dir(dir), name: "x"}
	if err := os.Rename(dir, filepath.Join(k.root, keptDirectory)); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(k.root, keptDirectory)
	for i := range 3 * keptCount {
		k.name = strings.Repeat("a", 8) + string(rune('0'+i%10)) + strings.Repeat("b", i/10)
		if err := k.write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > keptCount || len(entries) < keptCount/2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	if info, err := os.Stat(filepath.Join(dir, k.name)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the last one: %v, %v", info, err)
	}
}

func TestKeptAgain(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		name string
		want bool
	}{{"00000000000000ff", false}, {"00000000000000ff", true}, {"00000000000002ff", false}, {"00000000000000ff", false}, {"00000000000000ff", true}, {"nonsense", false}} {
		if got := (&Keep{root: root, name: c.name}).again(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
