package analyze

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/syscalls"
)

func TestParseCall(t *testing.T) {
	const max = 1<<64 - 1
	for _, tt := range []struct {
		text string
		name string
		args []uint64
		said string // the pattern written again
	}{
		{"chown", "chown", nil, "chown"},
		{" chown\t", "chown", nil, "chown"},
		{"chown()", "chown", nil, "chown"},
		{"chown( )", "chown", nil, "chown"},
		{"read(0)", "read", []uint64{0}, "read(0)"},
		{" read ( 1 ,2,\t3 ) ", "read", []uint64{1, 2, 3}, "read(1, 2, 3)"},
		{"read(0x1F, 0644, 0o644, 0b11, 1_000)", "read", []uint64{31, 420, 420, 3, 1000}, "read(0x1f, 0x1a4, 0x1a4, 3, 0x3e8)"},
		{"read(1,2,3,4,5,6)", "read", []uint64{1, 2, 3, 4, 5, 6}, "read(1, 2, 3, 4, 5, 6)"},
		{"write(0, 18446744073709551615)", "write", []uint64{0, max}, "write(0, 0xffffffffffffffff)"},
		{"write(0, -1)", "write", []uint64{0, max}, "write(0, 0xffffffffffffffff)"},
		{"write(0, -9223372036854775808)", "write", []uint64{0, 1 << 63}, "write(0, 0x8000000000000000)"},
		// An int is passed in 32 bits.
		{"socket(-1)", "socket", []uint64{1<<32 - 1}, "socket(0xffffffff)"},
		{"socket(-2147483648)", "socket", []uint64{1 << 31}, "socket(0x80000000)"},
		{"socket(-2147483649)", "socket", []uint64{max - 1<<31}, "socket(0xffffffff7fffffff)"},
		{"socket(0x100000002)", "socket", []uint64{1<<32 + 2}, "socket(0x100000002)"},
		{"socket(AF_VSOCK)", "socket", []uint64{unix.AF_VSOCK}, "socket(AF_VSOCK)"},
		{"socket(2, SOCK_STREAM | SOCK_CLOEXEC, 0)", "socket", []uint64{2, 1 | 0o2000000, 0}, "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0)"},
		{"clone(CLONE_NEWUSER|0x10000|SIGCHLD)", "clone", []uint64{0x10000000 | 0x10000 | 17}, ""},
		{"clone(CLONE_NEWUSER|CLONE_NEWNS)", "clone", []uint64{0x10020000}, "clone(CLONE_NEWNS|CLONE_NEWUSER)"},
		{"personality(ADDR_NO_RANDOMIZE)", "personality", []uint64{0x40000}, "personality(ADDR_NO_RANDOMIZE)"},
		{"ioctl(0, TIOCSTI)", "ioctl", []uint64{0, 0x5412}, "ioctl(0, TIOCSTI)"},
	} {
		want := CallPattern{Name: tt.name, Arch: syscalls.AMD64, Given: len(tt.args)}
		copy(want.Args[:], tt.args)
		got, err := ParseCall(tt.text, syscalls.AMD64)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
		if said := got.String(); tt.said != "" && said != tt.said {
			t.Errorf("%s is written %s, want %s", tt.text, said, tt.said)
		}
	}
}

// TestParseCallErrors checks the position and the hint of errors. A ^ in the text marks the
// position.
func TestParseCallErrors(t *testing.T) {
	for _, tt := range []struct{ text, message, hint string }{
		{"^", `"": no such system call`, "write NAME, or NAME(ARGUMENT, ...)"},
		{" ^", `" ": no such system call`, "write NAME, or NAME(ARGUMENT, ...)"},
		{"^(1)", "(1): no such system call", "write NAME, or NAME(ARGUMENT, ...)"},
		{" ^chwon", " chwon: no such system call", "did you mean chown?"},
		{"^CHOWN(1)", "CHOWN(1): no such system call", "did you mean chown?"},
		{"^chown)", "chown): no such system call", "did you mean chown?"},
		{"^zzzzzzzz", "zzzzzzzz: no such system call", ""},
		{"^@chown", "@chown: no such system call", "write the name of a call, not of a group"},
		{"^100000", "100000: no such system call", "write its name"},
		{"chown(^", "chown(: the arguments do not end with )", "write NAME(ARGUMENT, ...)"},
		{"chown(1^", "chown(1: the arguments do not end with )", "write NAME(ARGUMENT, ...)"},
		{"chown(1)^x", "chown(1)x: the arguments do not end with )", "write NAME(ARGUMENT, ...)"},
		{"chown((1)^)", "chown((1)): the arguments do not end with )", "write NAME(ARGUMENT, ...)"},
		{"chown(1,^)", `chown(1,): "" is not a number, and not a constant of argument 1`, "write a number"},
		{"chown(^,)", `chown(,): "" is not a number, and not a constant of argument 0`, "write a number"},
		{"chown(1|^)", `chown(1|): "" is not a number, and not a constant of argument 0`, "write a number"},
		{"chown(1, ^one)", `chown(1, one): "one" is not a number, and not a constant of argument 1`, "write a number"},
		{"read(1,2,3,4,5,6, ^7)", "read(1,2,3,4,5,6, 7): too many arguments", "a system call has six at most"},
		{"read(^18446744073709551616)", "read(18446744073709551616): 18446744073709551616 does not fit in 64 bits", ""},
		{"read(^-9223372036854775809)", "read(-9223372036854775809): -9223372036854775809 does not fit in 64 bits", ""},
		{"socket(^AF_VSOK)", `socket(AF_VSOK): "AF_VSOK" is not a number, and not a constant of argument 0`, "did you mean AF_VSOCK?"},
		{"socket(0, SOCK_STREAM | ^sock_cloexec)", `socket(0, SOCK_STREAM | sock_cloexec): "sock_cloexec" is not a number, and not a constant of argument 1`, "did you mean SOCK_CLOEXEC?"},
		{"socket(0, ^AF_INET)", `socket(0, AF_INET): "AF_INET" is not a number, and not a constant of argument 1`, "on amd64 it is a constant of argument 0"},
	} {
		before, after, _ := strings.Cut(tt.text, "^")
		_, err := ParseCall(before+after, syscalls.AMD64)
		var wrong *CallError
		if !errors.As(err, &wrong) {
			t.Errorf("%q: no CallError: %v", before+after, err)
			continue
		}
		if wrong.Error() != tt.message || wrong.Fix != tt.hint || wrong.Offset != len(before) {
			t.Errorf("got %q, hint %q, at %d\nwant %q, hint %q, at %d", wrong.Error(), wrong.Fix, wrong.Offset, tt.message, tt.hint, len(before))
		}
	}
}

// TestParseCallNumber checks the hint for a number, as logs have it, with the name on the host.
func TestParseCallNumber(t *testing.T) {
	host, ok := syscalls.Host()
	if !ok {
		t.Fatal("the host's architecture has no table")
	}
	number, _ := syscalls.Number(host, "mount")
	_, err := ParseCall(strconv.FormatUint(uint64(number), 10), syscalls.AMD64)
	var wrong *CallError
	if !errors.As(err, &wrong) || !strings.Contains(wrong.Fix, " is mount on "+host.String()) {
		t.Errorf("%v, %+v", err, wrong)
	}
}

// The order of arguments and the values of constants depend on the architecture.
func TestParseCallArch(t *testing.T) {
	for _, tt := range []struct {
		arch  syscalls.Arch
		text  string
		index int
		value uint64
	}{
		{syscalls.AMD64, "clone(CLONE_NEWUSER|SIGCHLD)", 0, 0x10000000 | 17},
		{syscalls.S390X, "clone(0, CLONE_NEWUSER|SIGCHLD)", 1, 0x10000000 | 17},
		{syscalls.S390, "clone(0, CLONE_NEWUSER)", 1, 0x10000000},
		{syscalls.MIPS64, "clone(CLONE_NEWUSER|SIGCHLD)", 0, 0x10000000 | 18},
		{syscalls.ARM64, "openat(0, 0, O_DIRECTORY)", 2, 0x4000},
		{syscalls.RISCV64, "openat(0, 0, O_DIRECTORY)", 2, 0x10000},
		{syscalls.PPC64LE, "ioctl(0, TCGETS)", 1, 0x402c7413},
		{syscalls.ARM, "mmap2(0, 0, PROT_EXEC)", 2, 4},
	} {
		c, err := ParseCall(tt.text, tt.arch)
		if err != nil || c.Args[tt.index] != tt.value {
			t.Errorf("%s: %s has %#x, %v; want %#x", tt.arch, tt.text, c.Args, err, tt.value)
		}
		if again, err := ParseCall(c.String(), tt.arch); err != nil || again != c {
			t.Errorf("%s: %s is written %s", tt.arch, tt.text, c)
		}
	}
	for text, tt := range map[string]struct {
		arch syscalls.Arch
		hint string
	}{
		"clone(CLONE_NEWUSER)":    {syscalls.S390X, "on s390x it is a constant of argument 1"},
		"clone(0, CLONE_NEWUSER)": {syscalls.AMD64, "on amd64 it is a constant of argument 0"},
		"mmap(0, 0, PROT_EXEC)":   {syscalls.S390X, "write a number"},
	} {
		_, err := ParseCall(text, tt.arch)
		var wrong *CallError
		if !errors.As(err, &wrong) || wrong.Fix != tt.hint {
			t.Errorf("%s on %s: %v, hint %q; want %q", text, tt.arch, err, wrong.Fix, tt.hint)
		}
	}
}

func TestParseCalls(t *testing.T) {
	for _, tt := range []struct {
		text string
		arch syscalls.Arch
		want string
	}{
		{"chown(1)", syscalls.AMD64, "chown(1)"},
		{" @chown ", syscalls.AMD64, "chown fchown fchownat lchown"},
		{"@chown", syscalls.ARM64, "fchown fchownat"},
		{"@chown", syscalls.X86, "chown chown32 fchown fchown32 fchownat lchown lchown32"},
	} {
		calls, err := ParseCalls(tt.text, tt.arch)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
		var got []string
		for _, c := range calls {
			got = append(got, c.String())
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s on %s (-want +got):\n%s", tt.text, tt.arch, diff)
		}
	}
	var wrong *CallError
	if _, err := ParseCalls("@chwon", syscalls.AMD64); !errors.As(err, &wrong) || wrong.Fix != "did you mean @chown?" {
		t.Errorf("%v, %+v", err, wrong)
	}
}

// FuzzParseCall checks that an accepted text can be written and read again with the same
// meaning, and that the error for any other text is a CallError with an offset in the text.
func FuzzParseCall(f *testing.F) {
	for _, text := range []string{"chown", "socket(AF_VSOCK)", "clone(CLONE_NEWUSER|0x11, -1)", "read( 0644 ,2)", "chown(1", "@chown", "socket(0,SOCK_STREAM|x)", "personality(-1)", "mmap(0,0,7,0x22)", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCall(text, syscalls.AMD64)
		if err != nil {
			var wrong *CallError
			if !errors.As(err, &wrong) {
				t.Fatalf("%T: %v", err, err)
			}
			if wrong.Offset < 0 || wrong.Offset > len(text) || wrong.Text != text || wrong.Message == "" {
				t.Fatalf("%+v", wrong)
			}
			return
		}
		if !syscalls.Known(c.Name) || c.Given > len(c.Args) {
			t.Fatalf("%+v", c)
		}
		again, err := ParseCall(c.String(), syscalls.AMD64)
		if err != nil {
			t.Fatal(err)
		}
		if again != c {
			t.Fatalf("%s: %+v, written again %s: %+v", text, c, c, again)
		}
	})
}
