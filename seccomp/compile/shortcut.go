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

// Shortcut finds the program that a profile's text gave in an earlier run, so that the
// text need not be parsed. The program is kept and trusted like those of [Cached], and
// is another one for each text, set of capabilities, architecture, kernel, libseccomp
// and running binary, whose parser and compiler made it. The methods of a nil Shortcut
// find and keep nothing.
type Shortcut struct {
	dir string
	key []byte
}

// NewShortcut looks nothing up yet.
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

// Program returns the program, or nil when there is none that can be trusted.
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

// Keep keeps the program for later runs, if it can.
func (s *Shortcut) Keep(program *bpf.Program) {
	if s != nil {
		_ = writeCached(s.dir, s.name(), marshalProgram(program, s.key))
	}
}

func (s *Shortcut) name() string { return hex.EncodeToString(s.key) }
