package launcher

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A command that tries all values or numbers does not take the launcher's memory.
func TestRecorderMade(t *testing.T) {
	socket := RecordedCall{Arch: unix.AUDIT_ARCH_X86_64, Nr: unix.SYS_SOCKET}
	r := Recorder{Arguments: map[RecordedCall]RecordedArgument{socket: {Index: 0, Mask: 0xffffffff}}}
	for n := range uint32(20000) {
		r.Made(Notification{Arch: unix.AUDIT_ARCH_X86_64, Nr: unix.SYS_SOCKET, Args: [6]uint64{uint64(n)}})
		r.Made(Notification{Arch: unix.AUDIT_ARCH_X86_64, Nr: n})
	}
	if calls := r.Calls(); len(calls) > recordedPlaces+maxValues || calls[RecordedCall{Arch: socket.Arch, Nr: unix.SYS_READ}] != 1 || !r.Full() {
		t.Errorf("%d calls, full: %t", len(calls), r.Full())
	}
}
