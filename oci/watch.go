package oci

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
)

// Observation says what is to be observed of a container.
type Observation struct {
	Policy       *seccomp.Policy // nil if the container has no filter, as Program is then
	Program      *bpf.Program
	Capabilities []string

	Explain  bool      // report the calls that are denied
	Complain bool      // and pass those that the filter denies
	Text     io.Writer // gets the reports, and warnings
	Lines    *os.File  // gets the reports as JSON, one on each line, and is closed; may be nil

	Record  string // the file of the profile of the container's calls, or ""
	Command string // that is recorded
}

// Observe returns how a container is observed: the filter that it needs, and what the
// launcher has to do. finish writes what is known at the container's end. Package cli has
// the only one, since its `run` does the same.
type Observe func(o Observation) (_ launcher.Options, finish func() error, err error)

// watch is how annotations have a container observed. It is kept for later verbs.
type watch struct {
	Explain  string `json:"explain,omitempty"` // stderr, or a file
	Complain bool   `json:"complain,omitempty"`
	Record   string `json:"record,omitempty"` // the profile's file
	Command  string `json:"command"`

	Profile      *profileText             `json:"profile,omitempty"` // of the filter, if it has one
	Capabilities *specs.LinuxCapabilities `json:"capabilities,omitempty"`
}

// observation is what observing takes, without the places where reports go.
func (w *watch) observation() (Observation, error) {
	o := Observation{
		Explain: w.Explain != "", Complain: w.Complain, Record: w.Record, Command: w.Command,
		Capabilities: bounding(w.Capabilities), Text: io.Discard,
	}
	if w.Profile == nil {
		return o, nil
	}
	var err error
	if o.Policy, err = w.Profile.resolve(w.Capabilities); err != nil {
		return o, err
	}
	o.Program, err = compiled(o.Policy.Seccomp, o.Policy.RulePosition)
	return o, err
}

// filter returns the filter that asks a supervisor.
func (w *watch) filter(observe Observe) (*filter, error) {
	o, err := w.observation()
	if err != nil {
		return nil, err
	}
	options, _, err := observe(o)
	if err != nil {
		return nil, err
	}
	return &filter{options.Filter, options.FilterFlags}, nil
}

// checkReport opens the file of explainAnnotation, so that an error is found early.
func (w *watch) checkReport() error {
	if w.Explain == "" || w.Explain == toStderr {
		return nil
	}
	f, err := openReport(w.Explain)
	if err != nil {
		return annotationError(explainAnnotation, "%w", err)
	}
	return f.Close()
}

const superviseVerb = "supervise"

// supervisor returns the command of a container's supervisor, or nil.
func (c *command) supervisor(container *launcher.Container, r *record) *exec.Cmd {
	if r.Watch == nil {
		return nil
	}
	args := append([]string{BinaryName, "--root", c.dirs.Root}, c.logFlags...)
	return &exec.Cmd{Path: "/proc/self/exe", Args: append(args, superviseVerb, filepath.Base(container.Dir())), Dir: "/"}
}

func (c *command) superviseCommand() *ucli.Command {
	return &ucli.Command{
		Name: superviseVerb, Usage: "of start: observe a container as its annotations say", ArgsUsage: "ID", Hidden: true,
		Action: c.onContainer(1, func(_ *ucli.Context, container *launcher.Container) error { return c.supervise(container) }),
	}
}

// supervise observes a container until it has ended.
func (c *command) supervise(container *launcher.Container) error {
	r, err := readRecord(container)
	if err != nil {
		return err
	}
	if r.Watch == nil {
		return errors.New("nothing is to be observed of this container")
	}
	finish := func() error { return nil }
	err = container.Supervise(func(stderr *os.File) (o launcher.Options, err error) {
		o, finish, err = r.Watch.start(c.observe, stderr)
		if err != nil {
			return o, err
		}
		b, err := openBundle(r.Bundle)
		if err != nil {
			return o, err
		}
		o.Spec = b.spec
		return o, os.Chdir("/")
	})
	return errors.Join(err, finish())
}

// start opens the places where reports go. What is not asked for goes to the engine's log.
func (w *watch) start(observe Observe, stderr *os.File) (_ launcher.Options, finish func() error, err error) {
	finish = func() error { return nil }
	o, err := w.observation()
	if err != nil {
		return launcher.Options{}, finish, err
	}
	switch w.Explain {
	case toStderr:
		o.Text = stderr
	case "":
		o.Text = logrus.StandardLogger().WriterLevel(logrus.InfoLevel)
	default:
		f, err := openReport(w.Explain)
		if err != nil {
			return launcher.Options{}, finish, err
		}
		o.Lines = f
	}
	options, finish, err := observe(o)
	if err != nil {
		finish = func() error { return nil }
	}
	return options, finish, err
}
