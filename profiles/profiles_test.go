package profiles

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	moby "github.com/moby/profiles/seccomp"

	"github.com/minirun/minirun/seccomp"
)

// The default profile is Docker's of today: when this fails, run `go generate`
// and read what has changed.
func TestDefaultIsDockers(t *testing.T) {
	want, err := json.MarshalIndent(moby.DefaultProfile(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(Default()), want) {
		t.Error("default.json is not the profile of github.com/moby/profiles/seccomp")
	}
}

func TestWalkthroughProfile(t *testing.T) {
	got, err := os.ReadFile("chown-audit-control.json")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := seccomp.Parse("default.json", Default())
	if err != nil {
		t.Fatal(err)
	}
	gate, err := seccomp.ParseEdit(seccomp.Gate, "CAP_AUDIT_CONTROL=@chown")
	if err != nil {
		t.Fatal(err)
	}
	want, err := profile.Edit([]seccomp.Edit{gate})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("chown-audit-control.json is not what `minirun seccomp edit --gate CAP_AUDIT_CONTROL=@chown` gives")
	}
}
