package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestNeededFor(t *testing.T) {
	at := func(name string) launcher.RecordedCall {
		call, ok := bpf.NewCall(syscalls.AMD64, name)
		if !ok {
			t.Fatal(name)
		}
		return launcher.RecordedCall{Arch: call.Arch, Nr: call.Nr}
	}
	got := neededFor([]launcher.Need{
		{Cap: unix.CAP_CHOWN, Call: at("chown")},
		{Cap: unix.CAP_CHOWN, Call: at("fchownat")},
		{Cap: unix.CAP_CHOWN, Call: at("chown")},
		{Cap: unix.CAP_NET_RAW, File: "/bin/ping"},
		{Cap: unix.CAP_SETUID, Call: at("setuid"), Args: [3]uint64{5}, UID: 5},
		{Cap: unix.CAP_SETUID, Call: at("setresuid"), Args: [3]uint64{5}, UID: 5},
		{Cap: unix.CAP_SETGID, Call: at("setgid"), Args: [3]uint64{5}, UID: 5},
		{Cap: unix.CAP_SETPCAP, Call: at("capset")},
		{Cap: unix.CAP_FSETID, Call: at("chmod"), Args: [3]uint64{1 << 40, 0o755}},
		{Cap: unix.CAP_FSETID, Call: at("fchmodat"), Args: [3]uint64{3, 1 << 40, 0o755}},
		{Cap: unix.CAP_DAC_OVERRIDE, Call: at("fchmodat"), Args: [3]uint64{3, 1 << 40, 0o755}},
		{Cap: 63, Call: at("chmod")}, // newer than this version
	})
	want := map[string][]string{
		"CAP_CHOWN": {"chown", "fchownat"}, "CAP_NET_RAW": {"the file capability of /bin/ping"},
		"CAP_SETUID": {"setresuid"}, "CAP_SETGID": {"setgid"}, "CAP_DAC_OVERRIDE": {"fchmodat"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = neededFor([]launcher.Need{{Cap: unix.CAP_FSETID, Call: at("chmod"), Args: [3]uint64{0, 0o2755}}, {Cap: unix.CAP_FSETID, Call: at("write")}})
	if diff := cmp.Diff(map[string][]string{"CAP_FSETID": {"chmod", "write"}}, got); diff != "" {
		t.Error(diff)
	}
}
