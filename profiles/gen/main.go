// Gen writes default.json from the module that Docker takes its default profile
// from, and the walkthrough's profile from that. Run it by `go generate`.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	moby "github.com/moby/profiles/seccomp"

	"github.com/minirun/minirun/seccomp"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	data, err := json.MarshalIndent(moby.DefaultProfile(), "", "\t")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	if err := os.WriteFile("default.json", data, 0o644); err != nil {
		return err
	}
	profile, err := seccomp.Parse("default.json", data)
	if err != nil {
		return err
	}
	gate, err := seccomp.ParseEdit(seccomp.Gate, "CAP_AUDIT_CONTROL=@chown")
	if err != nil {
		return err
	}
	edited, err := profile.Edit([]seccomp.Edit{gate})
	if err != nil {
		return err
	}
	return os.WriteFile("chown-audit-control.json", edited, 0o644)
}
