package seccomp_test

import (
	"fmt"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func ExampleParse() {
	_, err := seccomp.Parse("p.json", []byte(`{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscals": []
}`))
	fmt.Println(err)
	// Output: p.json:3:2: unknown key "syscals" in the profile
}

// The container's capabilities decide which rules apply. A rule that does not apply has a
// reason.
func ExampleProfile_Resolve() {
	p, err := seccomp.Parse("p.json", []byte(`{
	"defaultAction": "SCMP_ACT_ERRNO",
	"syscalls": [
		{"names": ["read"], "action": "SCMP_ACT_ALLOW"},
		{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}}
	]
}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := p.Resolve(seccomp.Target{
		Capabilities: []string{"CAP_CHOWN"},
		Arch:         syscalls.AMD64,
		Kernel:       seccomp.Kernel{Major: 6, Minor: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, d := range policy.Decisions {
		if d.Kept {
			fmt.Println(p.Rules[i].Pos, "applies")
		} else {
			fmt.Println(p.Rules[i].Pos, "does not:", d.Reason, d.By.Value)
		}
	}
	fmt.Println(policy.Seccomp.Syscalls[0].Names)
	// Output:
	// p.json:4:3 applies
	// p.json:5:3 does not: includes.caps CAP_SYS_ADMIN
	// [read]
}

func ExampleProfile_Edit() {
	p, err := seccomp.Parse("p.json", []byte(`{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	edit, err := seccomp.ParseEdit(seccomp.Gate, "CAP_SYS_ADMIN=mount,umount2")
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := p.Edit([]seccomp.Edit{edit})
	fmt.Println(string(text), err)
	// Output: {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names":["mount","umount2"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]} <nil>
}
