package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/launcher"
)

const configFile = "config.json"

// bundle is a directory with a root file system and its configuration, config.json.
type bundle struct {
	dir  string
	text []byte // of config.json
	spec *specs.Spec
}

// openBundle reads a bundle and makes its directory the working directory, from which
// relative paths in it start (config.md of the runtime specification).
func openBundle(dir string) (*bundle, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.Chdir(dir); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	data, err := atomicfile.Read(configFile)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	b := &bundle{dir, data, &specs.Spec{}}
	if err := json.Unmarshal(data, b.spec); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, configFile), err)
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, configFile), err)
	}
	return b, nil
}

// check refuses a configuration from which no container can be made, except for what
// libcontainer checks.
func (b *bundle) check() error {
	s := b.spec
	if s.Root == nil || s.Root.Path == "" {
		return errors.New("root.path is missing")
	}
	if s.Linux == nil {
		s.Linux = &specs.Linux{}
	}
	if !filepath.IsAbs(s.Root.Path) {
		s.Root.Path = filepath.Join(b.dir, s.Root.Path)
	}
	ignoreNoTasks(s.Version, s.Linux.Resources)
	return checkProcess(s.Process)
}

// ignoreNoTasks removes a pids.limit of 0 from resources of an engine whose version of the
// specification is below 1.3. This version made it a limit, of no task. Before, runtimes ignored
// it, and Podman 4 means no limit by it, also in an update.
func ignoreNoTasks(version string, r *specs.LinuxResources) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major > 1 || minor >= 3 {
		return
	}
	if r != nil && r.Pids != nil && r.Pids.Limit != nil && *r.Pids.Limit == 0 {
		r.Pids = nil
	}
}

func checkProcess(p *specs.Process) error {
	switch {
	case p == nil:
		return errors.New("process is missing")
	case !filepath.IsAbs(p.Cwd):
		return fmt.Errorf("process.cwd %q is not an absolute path", p.Cwd)
	case len(p.Args) == 0 || p.Args[0] == "":
		return errors.New("process.args is empty")
	}
	return nil
}

// record is kept in a container's directory for later verbs.
type record struct {
	OCIVersion  string              `json:"ociVersion"`
	Bundle      string              `json:"bundle"`
	Annotations map[string]string   `json:"annotations,omitempty"`
	Seccomp     *specs.LinuxSeccomp `json:"seccomp,omitempty"` // as it is compiled: for exec
	Watch       *watch              `json:"watch,omitempty"`
}

const recordFile = "oci.json"

func (r *record) save(container *launcher.Container) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(container.Dir(), recordFile), data, 0o600)
}

func readRecord(container *launcher.Container) (*record, error) {
	data, err := atomicfile.Read(filepath.Join(container.Dir(), recordFile))
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", recordFile, err)
	}
	return r, nil
}

// writePID writes the file of --pid-file, which appears with its content.
func writePID(path string, pid int) error {
	if path == "" {
		return nil
	}
	return atomicfile.Write(path, fmt.Append(nil, pid), 0o644)
}

// absolute returns the absolute path of a flag's value, and "" for "".
func absolute(path string) (string, error) {
	if path == "" || strings.HasPrefix(path, "/") {
		return path, nil
	}
	return filepath.Abs(path)
}
