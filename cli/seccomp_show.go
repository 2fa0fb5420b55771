package cli

import (
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/compile"
)

func (a *app) seccompShowCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "show",
		Usage: "print a profile resolved for one container: the flat list, or the program",
		Flags: append(targetFlags(), profileFlag(),
			choice("", "as", "json", "print `FORM`: json, for a bundle's config.json or a Localhost profile of Kubernetes; bpf, the program; asm, its disassembly; c, an array; pfc, libseccomp's pseudo code").with(oneOf("json", "bpf", "asm", "c", "pfc")),
			formatFlag(),
		),
		Action: func(c *ucli.Context) error {
			if err := checkArgs(c, 0, 0); err != nil {
				return err
			}
			asJSON, err := wantsJSON(c)
			if err != nil {
				return err
			}
			p, err := a.policy(c)
			if err != nil {
				return err
			}
			if asJSON && c.String("as") != "json" {
				return a.showJSON(p, c.String("as"))
			}
			return a.show(p, c.String("as"))
		},
	}
}

func (a *app) show(p *seccomp.Policy, form string) error {
	switch form {
	case "json":
		list, err := p.FlatList()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "%s\n", list)
		return err
	case "pfc":
		code, err := compile.PFC(p.Target.Arch, p.Seccomp, p.RulePosition)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.stdout, "# the program of libseccomp %s, without minirun's stub in front of it; --as asm shows both\n%s", compile.LibraryVersion(), code)
		return err
	}
	program, err := compile.Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
	if err != nil {
		return err
	}
	switch form {
	case "bpf":
		_, err = a.stdout.Write(program.Bytes())
	case "asm":
		_, err = fmt.Fprint(a.stdout, program.Disassemble())
	case "c":
		_, err = fmt.Fprint(a.stdout, program.C())
	default:
		err = &usageError{"--as " + form + ": no such form", "use json, bpf, asm, c or pfc"}
	}
	return err
}

// showJSON prints the program as dump does.
func (a *app) showJSON(p *seccomp.Policy, form string) error {
	if form != "asm" && form != "bpf" {
		return &usageError{"--format json: --as " + form + " is text only", "use --as asm or bpf, or json for the flat list"}
	}
	program, err := compile.Compile(p.Target.Arch, p.Seccomp, p.RulePosition)
	if err != nil {
		return err
	}
	return writeJSON(a.stdout, dumpedFilters([]*bpf.Program{program})[0])
}
