package cli

import (
	"bytes"
	"fmt"
	"strconv"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
	"github.com/minirun/minirun/seccomp/live"
)

func (a *app) seccompDumpCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "dump",
		Usage:     "print the filters of a running process as the kernel has them; needs root",
		ArgsUsage: "PID",
		Description: `--against compares them with the filter of a profile, for a container with the
process's own bounding set or the one that --cap-add and --cap-drop give. It exits
with status 1 if the filters differ.`,
		Flags:  append(targetFlags(), text("", "against", "", "compare with the filter of the profile in `FILE`, or default").with(files("default")), formatFlag()),
		Action: a.dumpAction,
	}
}

func (a *app) dumpAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(c.Args().First())
	if err != nil || pid <= 0 {
		return &usageError{"seccomp dump " + c.Args().First() + ": not a process ID", "'ps -e' lists the processes"}
	}
	var against *seccomp.Policy
	if c.String("against") != "" {
		if against, err = a.dumpPolicy(c, pid); err != nil {
			return err
		}
	}
	filters, err := live.Filters(pid)
	switch {
	case err != nil:
		return err
	case against != nil:
		return a.dumpAgainst(pid, filters, against, c.String("against"), asJSON)
	case asJSON:
		return writeJSON(a.stdout, dumpedFilters(filters))
	}
	return a.writeFilters(pid, filters)
}

// dumpPolicy resolves the profile of --against for the process.
func (a *app) dumpPolicy(c *ucli.Context, pid int) (*seccomp.Policy, error) {
	profile, err := a.loadProfile(c.String("against"))
	if err != nil {
		return nil, err
	}
	t, err := target(c)
	if err != nil {
		return nil, err
	}
	if !c.IsSet("cap-add") && !c.IsSet("cap-drop") {
		if t.Capabilities, err = live.BoundingSet(pid); err != nil {
			return nil, err
		}
	}
	return profile.Resolve(t)
}

func (a *app) writeFilters(pid int, filters []*bpf.Program) error {
	if len(filters) == 0 {
		_, err := fmt.Fprintf(a.stdout, "process %d has no filter\n", pid)
		return err
	}
	for i, f := range filters {
		plural := "s"
		if len(f.Instructions) == 1 {
			plural = ""
		}
		if _, err := fmt.Fprintf(a.stdout, "filter %d of %d, %d instruction%s\n%s", i+1, len(filters), len(f.Instructions), plural, f.Disassemble()); err != nil {
			return err
		}
	}
	return nil
}

// dumpedFilter is a filter in JSON: its struct sock_filter, and as text.
type dumpedFilter struct {
	Instructions []dumpedInstruction `json:"instructions"`
	Text         string              `json:"text"`
}

type dumpedInstruction struct {
	Code uint16 `json:"code"`
	Jt   uint8  `json:"jt"`
	Jf   uint8  `json:"jf"`
	K    uint32 `json:"k"`
}

func dumpedFilters(filters []*bpf.Program) []dumpedFilter {
	all := []dumpedFilter{}
	for _, f := range filters {
		d := dumpedFilter{Text: f.Disassemble()}
		for _, i := range f.Instructions {
			d.Instructions = append(d.Instructions, dumpedInstruction(i))
		}
		all = append(all, d)
	}
	return all
}

// comparison is the result of --against.
type comparison struct {
	Same        bool                 `json:"same"` // one filter is the profile's, byte for byte or as --explain changes it
	Finding     string               `json:"finding"`
	Differences []analyze.Difference `json:"differences"`
}

// dumpAgainst returns status 1 if no filter is the profile's.
func (a *app) dumpAgainst(pid int, filters []*bpf.Program, p *seccomp.Policy, name string, asJSON bool) error {
	found, err := compareFilters(pid, filters, p, printable(name))
	if err != nil {
		return err
	}
	if asJSON {
		err = writeJSON(a.stdout, found)
	} else if _, err = fmt.Fprintln(a.stdout, found.Finding); err == nil {
		err = a.writeDifferences(found.Differences, "process", name)
	}
	if err == nil && !found.Same {
		return status(1)
	}
	return err
}

// compareFilters looks for the profile's filter among those of the process, or
// compares the only one call by call.
func compareFilters(pid int, filters []*bpf.Program, p *seccomp.Policy, name string) (comparison, error) {
	found := comparison{Differences: []analyze.Difference{}}
	want, err := compile.Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
	if err != nil {
		return found, err
	}
	observed, _ := want.Observed(fails) // nil if the program cannot be observed
	for i, f := range filters {
		how := ""
		switch {
		case bytes.Equal(f.Bytes(), want.Bytes()):
			how = "byte for byte"
		case observed != nil && bytes.Equal(f.Bytes(), observed.Bytes()):
			how = "as --explain changes it"
		default:
			continue
		}
		found.Same, found.Finding = true, fmt.Sprintf("filter %d of %d is that of %s, %s", i+1, len(filters), name, how)
		return found, nil
	}
	switch len(filters) {
	case 0:
		found.Finding = fmt.Sprintf("process %d has no filter", pid)
		return found, nil
	case 1:
	default:
		found.Finding = fmt.Sprintf("none of the %d filters is that of %s", len(filters), name)
		return found, nil
	}
	differences, err := analyze.DiffProgram(filters[0], p)
	found.Differences = append(found.Differences, differences...)
	found.Finding = fmt.Sprintf("the filter differs from that of %s, but no verdict does", name)
	if n := len(differences); n > 0 {
		found.Finding = fmt.Sprintf("the filter differs from that of %s: %s", name, countDifferences(n, false))
	}
	return found, err
}
