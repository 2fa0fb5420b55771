package cli

import (
	"errors"
	"os"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// loadProfile reads and parses a profile: a file, or "default". It prints the first warning
// of the parser.
func (a *app) loadProfile(name string) (*seccomp.Profile, error) {
	text, err := profileText(name)
	if err != nil {
		return nil, err
	}
	return a.parseProfile(name, text)
}

func isDefault(name string) bool { return name == "default" || name == "builtin" }

// profileText reads a profile: a file, or "default".
func profileText(name string) ([]byte, error) {
	if isDefault(name) {
		return profiles.Default(), nil
	}
	data, err := readProfile(name, "give a file, or default; a launch also takes unconfined")
	if err != nil && name == "unconfined" { // a launch reads no profile then
		return nil, &usageError{"unconfined: there is no profile to read", "give a file, or default"}
	}
	return data, err
}

// profileFile is how positions name a profile.
func profileFile(name string) string {
	if isDefault(name) {
		return profiles.DefaultName
	}
	return name
}

// parseProfile parses the text of a profile, and prints the first warning of the parser.
func (a *app) parseProfile(name string, text []byte) (*seccomp.Profile, error) {
	profile, err := seccomp.Parse(profileFile(name), text)
	if isDefault(name) {
		return profile, err
	}
	if err != nil && hintOf(err) == "" {
		return nil, hint.With(err, "'minirun seccomp edit' prints Docker's default profile, as an example of the format")
	}
	if err != nil {
		return nil, err
	}
	a.warnOfRemarks(profile)
	return profile, nil
}

// warnOfRemarks prints the first remark; lint prints them all.
func (a *app) warnOfRemarks(p *seccomp.Profile) {
	switch n := len(p.Remarks); n {
	case 0:
	case 1:
		a.ui.warn("%s", p.Remarks[0].Error())
	default:
		a.ui.warn("%s; 'minirun seccomp lint' shows %d more", p.Remarks[0].Error(), n-1)
	}
}

// readProfile reads a file, but only as much as needed to see that it is too large for a
// profile.
func readProfile(name, help string) ([]byte, error) {
	if name == "" {
		return nil, &usageError{"seccomp profile: the name is empty", help}
	}
	data, err := readUpTo(name, seccomp.MaxSize+1)
	if err != nil {
		wrong := fileError("seccomp profile", name, err)
		if !errors.Is(err, os.ErrPermission) {
			wrong.hint = help
		}
		return nil, wrong
	}
	return data, nil
}

// targetFlags returns the flags for the container and the machine that a profile is resolved
// for.
func targetFlags() []ucli.Flag {
	return []ucli.Flag{
		list("", "cap-add", "", "for a container with capability `CAP`, or ALL").with(capabilities),
		list("", "cap-drop", "", "for a container without `CAP`, or ALL").with(capabilities),
		text("", "arch", "", "for `ARCH`, such as amd64 or arm64, instead of this machine's").with(oneOf("amd64", "arm64", "riscv64", "ppc64le", "s390x")),
		text("", "kernel", "", "for Linux `X.Y` instead of this machine's"),
	}
}

func profileFlag() ucli.Flag {
	return choice("", "profile", "default", "read the profile in `FILE`, or Docker's default one").with(files("default"))
}

// firstProfileFlag returns --profile for verbs whose arguments are profiles, too.
func firstProfileFlag() ucli.Flag {
	return text("", "profile", "", "profile to read first, before the arguments: `FILE` or default").with(files("default"))
}

// profileNames returns the profiles of --profile and of the arguments, in this order.
func profileNames(c *ucli.Context) []string {
	if c.IsSet("profile") {
		return append([]string{c.String("profile")}, c.Args().Slice()...)
	}
	return c.Args().Slice()
}

// target returns the target that targetFlags describe.
func target(c *ucli.Context) (seccomp.Target, error) {
	caps, err := config.BoundingSet(c.StringSlice("cap-add"), c.StringSlice("cap-drop"), false)
	if err != nil {
		return seccomp.Target{}, err
	}
	t, err := seccomp.HostTarget(caps)
	if err != nil {
		return t, err
	}
	if name := c.String("arch"); c.IsSet("arch") {
		arch, ok := syscalls.ParseArch(name)
		if !ok {
			return t, &usageError{"--arch " + name + ": unknown architecture", "use amd64, arm64, s390x, ppc64le, riscv64 or another GOARCH"}
		}
		t.Arch = arch
	}
	if text := c.String("kernel"); c.IsSet("kernel") {
		if t.Kernel, err = seccomp.ParseKernel(text); err != nil {
			return t, &usageError{"--kernel: " + err.Error(), "write X.Y, for example 5.15"}
		}
	}
	return t, nil
}

// policy returns the profile of profileFlag, resolved for the target of targetFlags.
func (a *app) policy(c *ucli.Context) (*seccomp.Policy, error) {
	profile, err := a.loadProfile(c.String("profile"))
	if err != nil {
		return nil, err
	}
	t, err := target(c)
	if err != nil {
		return nil, err
	}
	return profile.Resolve(t)
}

// edits returns the changes that the flags of seccomp edit describe. In a launch the flags
// have a prefix.
func edits(c *ucli.Context, prefix string) ([]seccomp.Edit, error) {
	var all []seccomp.Edit
	for _, action := range []seccomp.EditAction{seccomp.Deny, seccomp.Allow, seccomp.Gate} {
		flag := prefix + string(action)
		for _, text := range c.StringSlice(flag) {
			e, err := seccomp.ParseEdit(action, text)
			var wrong *seccomp.EditError
			if errors.As(err, &wrong) {
				return nil, &usageError{"--" + flag + ": " + wrong.Error(), wrong.Fix}
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// edit returns the text of a profile with the changes of [edits].
func edit(p *seccomp.Profile, changes []seccomp.Edit, prefix string) ([]byte, error) {
	text, err := p.Edit(changes)
	if errors.Is(err, seccomp.ErrFlatGate) {
		return nil, hint.With(err, "use --"+prefix+"allow or --"+prefix+"deny")
	}
	return text, err
}
