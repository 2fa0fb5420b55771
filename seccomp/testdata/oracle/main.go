// The oracle resolves profiles as Docker does, by Docker's own resolver, which
// knows only the machine that it runs on. The test compiles it for others and
// runs it under an emulator.
//
// It reads a question from standard input and writes, for each profile and then
// for each set of capabilities, the flat list as a line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

type question struct {
	Profiles []string
	Sets     [][]string
}

func main() {
	if err := answer(); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func answer() error {
	var q question
	if err := json.NewDecoder(os.Stdin).Decode(&q); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, profile := range q.Profiles {
		for _, set := range q.Sets {
			spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: set}}}
			list, err := seccomp.LoadProfile(profile, spec)
			if err != nil {
				return err
			}
			if err := out.Encode(list); err != nil {
				return err
			}
		}
	}
	return nil
}
