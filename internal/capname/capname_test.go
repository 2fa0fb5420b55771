package capname

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestFull(t *testing.T) {
	for typed, want := range map[string]string{
		"net_raw": "CAP_NET_RAW", "CAP_NET_RAW": "CAP_NET_RAW", "cap_Net_Raw": "CAP_NET_RAW", "no such": "CAP_NO SUCH", "": "CAP_",
	} {
		if got := Full(typed); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}

// The numbers are those of linux/capability.h.
func TestAll(t *testing.T) {
	for number, want := range map[int]string{unix.CAP_CHOWN: "CAP_CHOWN", unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN", unix.CAP_LAST_CAP: "CAP_CHECKPOINT_RESTORE"} {
		if got := All()[number]; got != want {
			t.Errorf("%d: %q, want %q", number, got, want)
		}
	}
}
