package launcher

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// netlinkMessage returns a message for the request seq.
func netlinkMessage(kind, flags uint16, seq uint32, body ...byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = binary.NativeEndian.AppendUint16(m, flags)
	m = binary.NativeEndian.AppendUint32(m, seq)
	m = append(binary.NativeEndian.AppendUint32(m, 0), body...)
	return append(m, make([]byte, -len(m)&3)...)
}

// netlinkAnswered asks somebody who answers with datagrams, and then goes away.
func netlinkAnswered(t *testing.T, answer func(seq uint32) [][]byte) (messages int, errno unix.Errno) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	told := make(chan error, 1)
	go func() {
		defer unix.Close(ends[1])
		request := make([]byte, 1024)
		_, err := unix.Read(ends[1], request)
		for _, datagram := range answer(binary.NativeEndian.Uint32(request[8:])) {
			err = errors.Join(err, unix.Send(ends[1], datagram, 0))
		}
		told <- err
	}()
	messages, errno = netlinkAsk(ends[0])
	if err := <-told; err != nil {
		t.Fatal(err)
	}
	return messages, errno
}

// What does not answer the request, or not all of it, is no answer.
func TestNetlinkAsk(t *testing.T) {
	const kind = unix.RTM_NEWADDR
	number := func(n int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }
	item := func(seq uint32) []byte { return netlinkMessage(kind, unix.NLM_F_MULTI, seq, 1, 2, 3) }
	done := func(seq uint32) []byte { return netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq, number(0)...) }
	refused := -int32(unix.EPERM)
	for _, c := range []struct {
		name     string
		answer   func(seq uint32) [][]byte
		messages int
		errno    unix.Errno
	}{
		{"one message", func(s uint32) [][]byte { return [][]byte{netlinkMessage(kind, 0, s)} }, 1, 0},
		{"a list", func(s uint32) [][]byte { return [][]byte{append(item(s), item(s)...), append(item(s), done(s)...)} }, 3, 0},
		{"an acknowledgement", func(s uint32) [][]byte { return [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, s, number(0)...)} }, 0, 0},
		{"an error", func(s uint32) [][]byte {
			return [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, s, append(number(refused), make([]byte, 16)...)...)}
		}, 0, unix.EPERM},
		{"an error after some of a list", func(s uint32) [][]byte {
			return [][]byte{item(s), netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, s, number(refused)...)}
		}, 1, unix.EPERM},
		{"an error that is none", func(s uint32) [][]byte { return [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, s, number(-1<<31)...)} }, 0, unix.EBADMSG},
		{"an error without a number", func(s uint32) [][]byte { return [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, s)} }, 0, unix.EBADMSG},
		{"a list that has changed", func(s uint32) [][]byte {
			return [][]byte{item(s), netlinkMessage(kind, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, s), done(s)}
		}, 2, unix.EINTR},
		{"the rest of another answer", func(s uint32) [][]byte {
			return [][]byte{item(s - 1), done(s - 1), append(item(s-1), item(s)...), done(s)}
		}, 1, 0},
		{"a list without an end", func(s uint32) [][]byte { return [][]byte{item(s)} }, 1, unix.EBADMSG},
		{"a message that is cut", func(s uint32) [][]byte { return [][]byte{append(item(s), item(s)[:17]...), done(s)} }, 1, unix.EBADMSG},
		{"a part of a head", func(s uint32) [][]byte { return [][]byte{item(s)[:15], done(s)} }, 0, unix.EBADMSG},
		{"a length of nothing", func(s uint32) [][]byte { return [][]byte{make([]byte, 16), done(s)} }, 0, unix.EBADMSG},
		{"a large datagram", func(s uint32) [][]byte { return [][]byte{item(s), append(item(s), make([]byte, 1<<15)...), done(s)} }, 1, unix.EBADMSG},
		{"nothing", func(uint32) [][]byte { return nil }, 0, unix.EBADMSG},
	} {
		if messages, errno := netlinkAnswered(t, c.answer); messages != c.messages || errno != c.errno {
			t.Errorf("%s: %d messages, errno %d (%v)", c.name, messages, errno, errno)
		}
	}
}

// A socket takes nothing from another process.
func TestNetlinkOpen(t *testing.T) {
	testenv.Root(t)
	socket, other := netlinkOpen(), -1
	own, err := unix.Getsockname(socket)
	if err == nil {
		other, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(socket)
	defer unix.Close(other)
	if err := unix.Sendto(other, netlinkMessage(unix.NLMSG_DONE, 0, 1), 0, own); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("another's message: %v", err)
	}
	if _, errno := netlinkAsk(socket); errno != 0 {
		t.Errorf("the kernel: %v", errno)
	}
}

func TestNetlinkFind(t *testing.T) {
	attribute := func(kind uint16, value ...byte) []byte {
		a := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)))
		a = append(binary.NativeEndian.AppendUint16(a, kind), value...)
		return append(a, make([]byte, -len(a)&3)...)
	}
	body := []byte{1, 2, 3, 4}
	long := []byte{0xff, 0, 1, 0} // longer than the message
	for _, c := range []struct {
		name  string
		after []byte
		kind  uint16
		size  int
		want  int
	}{
		{"the first", attribute(1, 1, 2, 3, 4), 1, 4, 24},
		{"the second", append(attribute(1, 5), attribute(2, 1, 2, 3, 4)...), 2, 4, 32},
		{"with flags", attribute(1|unix.NLA_F_NESTED, 1), 1, 1, 24},
		{"empty", attribute(1), 1, 0, 24},
		{"too short", attribute(1, 1, 2, 3), 1, 4, -1},
		{"another", attribute(2, 1), 1, 1, -1},
		{"none", nil, 1, 0, -1},
		{"longer than the message", long, 1, 0, -1},
		{"a length of nothing", append([]byte{0, 0, 1, 0}, attribute(1, 1)...), 1, 1, -1},
		{"a part of a head", []byte{4, 0, 1}, 1, 0, -1},
	} {
		m := slices.Concat(netlinkMessage(unix.RTM_NEWADDR, 0, 1, body...), c.after)
		binary.NativeEndian.PutUint32(m, uint32(len(m)))
		if at := netlinkFind(m, len(body), c.kind, c.size); at != c.want {
			t.Errorf("%s: at %d, want %d", c.name, at, c.want)
		}
	}
}

func FuzzNetlink(f *testing.F) {
	f.Add(slices.Concat(netlinkMessage(unix.RTM_NEWADDR, unix.NLM_F_MULTI, 1, 1, 2, 3, 4, 5, 0, 1, 0, 9), netlinkMessage(unix.NLMSG_DONE, 0, 1, 0, 0, 0, 0)), uint16(1), 4, 1)
	f.Fuzz(func(t *testing.T, data []byte, kind uint16, body, size int) {
		netlinkAnswered(t, func(seq uint32) [][]byte {
			answer := slices.Clone(data)
			if len(answer) >= unix.SizeofNlMsghdr {
				binary.NativeEndian.PutUint32(answer[8:], seq)
			}
			return [][]byte{answer}
		})
		if len(data) < unix.SizeofNlMsghdr || body < 0 || body > 1<<10 || size < 0 || size > 1<<16 {
			return
		}
		message := append(make([]byte, 0, len(data)), data...)
		binary.NativeEndian.PutUint32(message, uint32(len(message)))
		if at := netlinkFind(message, body, kind, size); at != -1 && (at < unix.SizeofNlMsghdr+body || at+size > len(message)) {
			t.Errorf("%d bytes at %d of %d", size, at, len(message))
		}
	})
}
