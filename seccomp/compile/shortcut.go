package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"io"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/kernel"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// Shortcut finds the program that an earlier run has made of a profile's text, so that the
// text need not be parsed. The program is kept and trusted as those of [Cached] are. Its key
// consists of the text, the capabilities, the architecture, the kernel, libseccomp and the
// running binary, which has the parser and the compiler. The methods of a nil Shortcut find
// and keep nothing.
type Shortcut struct {
	dir string
	key []byte
}

// NewShortcut computes the key. It does not look for the program.
func NewShortcut(dir string, text []byte, arch syscalls.Arch, capabilities []string) (*Shortcut, error) {
	release, err := kernel.Release()
	if err != nil {
		return nil, err
	}
	var binary unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &binary); err != nil {
		return nil, err
	}
	h := sha256.New()
	add := func(s string) { number(h, uint64(len(s))); _, _ = io.WriteString(h, s) }
	add("shortcut")
	for _, n := range []uint64{
		compilerVersion, uint64(arch), binary.Dev, binary.Ino, uint64(binary.Size),
		uint64(binary.Mtim.Nano()), uint64(binary.Ctim.Nano()), uint64(len(capabilities)),
	} {
		number(h, n)
	}
	for _, capability := range capabilities {
		add(capability)
	}
	add(LibraryVersion())
	add(release)
	add(string(text))
	return &Shortcut{dir, h.Sum(nil)}, nil
}

// Program returns the program, or nil if there is none that can be trusted.
func (s *Shortcut) Program() *bpf.Program {
	if s == nil {
		return nil
	}
	program, err := readCached(s.dir, s.name(), s.key)
	if err != nil {
		return nil
	}
	return program
}

// Keep keeps the program for later runs, if possible.
func (s *Shortcut) Keep(program *bpf.Program) {
	if s != nil {
		_ = writeCached(s.dir, s.name(), marshalProgram(program, s.key))
	}
}

func (s *Shortcut) name() string { return hex.EncodeToString(s.key) }
