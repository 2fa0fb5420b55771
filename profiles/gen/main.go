// Gen writes default.json from the module that Docker takes its default profile
// from, and the walkthrough's profile from that. Run it by `go generate`.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	moby "github.com/moby/profiles/seccomp"
)

func main() {
	data, err := json.MarshalIndent(moby.DefaultProfile(), "", "\t")
	if err == nil {
		err = os.WriteFile("default.json", append(data, '\n'), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
