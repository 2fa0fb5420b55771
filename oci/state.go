package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	json "github.com/go-json-experiment/json/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
)

// containerState is what state and list print, with runc's additions to the runtime
// specification's: rootfs, created and owner.
type containerState struct {
	specs.State
	Rootfs  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
}

// MarshalJSON writes the fields in runc's order; pid is present even if it is 0.
func (s containerState) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		OCIVersion  string               `json:"ociVersion"`
		ID          string               `json:"id"`
		PID         int                  `json:"pid"`
		Status      specs.ContainerState `json:"status"`
		Bundle      string               `json:"bundle"`
		Rootfs      string               `json:"rootfs"`
		Created     time.Time            `json:"created"`
		Annotations map[string]string    `json:"annotations,omitempty"`
		Owner       string               `json:"owner"`
	}{s.Version, s.ID, s.Pid, s.Status, s.Bundle, s.Rootfs, s.Created, s.Annotations, s.Owner})
}

func (c *command) stateCommand() *ucli.Command {
	return &ucli.Command{
		Name: "state", Usage: "print a container's state as JSON", ArgsUsage: "ID",
		Action: c.onContainer(1, func(_ *ucli.Context, container *launcher.Container) error {
			s, err := stateOf(container)
			if err != nil {
				return err
			}
			data, err := s.text()
			if err != nil {
				return err
			}
			_, err = c.stdout.Write(data)
			return err
		}),
	}
}

func stateOf(container *launcher.Container) (*containerState, error) {
	known, err := container.State()
	if err != nil {
		return nil, err
	}
	r, err := readRecord(container)
	if err != nil {
		return nil, err
	}
	s := newState(known, r)
	if known.Status != launcher.StatusCreated && known.Status != launcher.StatusRunning {
		return s, nil
	}
	paused, err := container.Paused()
	if err != nil {
		return nil, err
	}
	if paused {
		s.Status = "paused"
	}
	return s, nil
}

// newState describes a container that is not paused.
func newState(known launcher.State, r *record) *containerState {
	s := &containerState{
		State: specs.State{
			Version: r.OCIVersion, ID: known.Name, Pid: known.PID, Bundle: r.Bundle, Annotations: r.Annotations,
			Status: specs.ContainerState(known.Status),
		},
		Rootfs: known.Root, Created: known.Created.UTC(),
	}
	if known.Status == launcher.StatusStopped {
		s.Pid = 0
	}
	return s
}

// text is what state prints.
func (s *containerState) text() ([]byte, error) { return json.MarshalIndent(s, "", "  ") }

func (c *command) listCommand() *ucli.Command {
	return &ucli.Command{
		Name: "list", Usage: "list the containers of --root",
		Flags: []ucli.Flag{formatFlag(), &ucli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print only IDs"}},
		Action: func(ctx *ucli.Context) error {
			if err := checkArgs(ctx, 0, 0); err != nil {
				return err
			}
			all, err := c.list()
			if err != nil {
				return err
			}
			return printList(c.stdout, all, ctx.String("format"), ctx.Bool("quiet"))
		},
	}
}

func formatFlag() ucli.Flag {
	return &ucli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table or json"}
}

// list returns the states of all containers. A container that is deleted
// meanwhile is left out.
func (c *command) list() ([]*containerState, error) {
	entries, err := os.ReadDir(filepath.Join(c.dirs.Root, "containers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*containerState
	for _, entry := range entries {
		container, err := launcher.Open(c.dirs, entry.Name(), c.warn)
		if err != nil {
			continue
		}
		s, err := stateOf(container)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			c.warn(fmt.Errorf("container %s: %w", entry.Name(), err))
			continue
		}
		s.Owner = ownerOf(entry)
		all = append(all, s)
	}
	return all, nil
}

// ownerOf returns the name of the user that owns a directory.
func ownerOf(entry os.DirEntry) string {
	info, err := entry.Info()
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	id := strconv.FormatUint(uint64(stat.Uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "#" + id
}

func printList(w io.Writer, all []*containerState, format string, quiet bool) error {
	switch {
	case quiet:
		for _, s := range all {
			if _, err := fmt.Fprintln(w, s.ID); err != nil {
				return err
			}
		}
		return nil
	case format == "json":
		return json.NewEncoder(w).Encode(all)
	case format != "table":
		return fmt.Errorf("--format %s: use table or json", format)
	}
	t := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
	_, _ = fmt.Fprint(t, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n") // Flush has the error
	for _, s := range all {
		_, _ = fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.Pid, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return t.Flush()
}
