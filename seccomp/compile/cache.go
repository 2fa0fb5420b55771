package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minirun/minirun/internal/atomicfile"
	"github.com/minirun/minirun/internal/kernel"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// compilerVersion must change whenever Compile begins to return another program for the
// same list.
const compilerVersion = 2

// cacheSize is how many files are kept.
const cacheSize = 256

// Cached is [Compile] with the programs of earlier runs kept in dir, which is made
// accessible to the effective user only. hit reports whether the program came from dir.
//
// A file in dir decides what a container may do. It is trusted only if it is undamaged, and
// if it and dir belong to the effective user and nobody else can write to them; otherwise
// the program is compiled again. It is not an error if a program cannot be kept, for example
// because the disk is full. Processes may share dir: each reads a complete file or none.
func Cached(dir string, arch syscalls.Arch, list *specs.LinuxSeccomp, origin Origin) (program *bpf.Program, hit bool, err error) {
	c, err := newCompiler(arch, list, origin)
	if err != nil {
		return nil, false, err
	}
	key, err := c.key()
	if err != nil {
		return nil, false, err
	}
	name := hex.EncodeToString(key)
	if program, err := readCached(dir, name, key); err == nil {
		return program, true, nil
	}
	if program, err = c.compile(); err != nil {
		return nil, false, err
	}
	_ = writeCached(dir, name, marshalProgram(program, key))
	return program, false, nil
}

// key returns a digest of everything that the program depends on. Each part is preceded by
// its length, so different lists never have the same encoding.
func (c *compiler) key() ([]byte, error) {
	release, err := kernel.Release()
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	text := func(s string) { number(h, uint64(len(s))); _, _ = io.WriteString(h, s) }
	errno := func(e *uint) {
		if e == nil {
			number(h, 1<<63)
		} else {
			number(h, uint64(*e))
		}
	}
	number(h, compilerVersion)
	text(LibraryVersion())
	text(release)
	text(c.arch.OCI())
	s := c.list
	text(string(s.DefaultAction))
	errno(s.DefaultErrnoRet)
	number(h, uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		text(string(a))
	}
	if s.Flags == nil {
		number(h, 1<<63)
	} else {
		number(h, uint64(len(s.Flags)))
	}
	for _, f := range s.Flags {
		text(string(f))
	}
	number(h, uint64(len(s.Syscalls)))
	for _, rule := range s.Syscalls {
		text(string(rule.Action))
		errno(rule.ErrnoRet)
		number(h, uint64(len(rule.Names)))
		for _, n := range rule.Names {
			text(n)
		}
		number(h, uint64(len(rule.Args)))
		for _, a := range rule.Args {
			number(h, uint64(a.Index))
			number(h, a.Value)
			number(h, a.ValueTwo)
			text(string(a.Op))
		}
	}
	return h.Sum(nil), nil
}

func number(h hash.Hash, v uint64) {
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, v)) // a hash takes everything
}

// A file has magic, key, architecture, flags, listener, count, instructions, and the SHA-256
// of all of these. Numbers are little-endian.
const cacheMagic = "minirun program\n"

type cacheHeader struct {
	Magic    [len(cacheMagic)]byte
	Key      [sha256.Size]byte
	Arch     uint32
	Flags    uint32
	Listener bool
	Count    uint32
}

func marshalProgram(p *bpf.Program, key []byte) []byte {
	header := cacheHeader{Key: [sha256.Size]byte(key), Arch: uint32(p.Arch), Flags: p.Flags, Listener: p.Listener, Count: uint32(len(p.Instructions))}
	copy(header.Magic[:], cacheMagic)
	var b bytes.Buffer
	for _, part := range []any{header, p.Instructions} {
		_ = binary.Write(&b, binary.LittleEndian, part) // neither can fail
	}
	sum := sha256.Sum256(b.Bytes())
	return append(b.Bytes(), sum[:]...)
}

var errDamaged = errors.New("damaged")

func unmarshalProgram(data, key []byte) (*bpf.Program, error) {
	if len(data) < sha256.Size {
		return nil, errDamaged
	}
	content, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if want := sha256.Sum256(content); !bytes.Equal(want[:], sum) {
		return nil, errDamaged
	}
	var header cacheHeader
	n, err := binary.Decode(content, binary.LittleEndian, &header)
	if err != nil {
		return nil, errDamaged
	}
	if string(header.Magic[:]) != cacheMagic || !bytes.Equal(header.Key[:], key) || header.Count == 0 || header.Count > unix.BPF_MAXINSNS {
		return nil, errDamaged
	}
	insns, err := bpf.Decode(content[n:], binary.LittleEndian)
	if err != nil || len(insns) != int(header.Count) {
		return nil, errDamaged
	}
	return &bpf.Program{Arch: syscalls.Arch(header.Arch), Flags: header.Flags, Listener: header.Listener, Instructions: insns}, nil
}

func readCached(dir, name string, key []byte) (*bpf.Program, error) {
	directory, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer directory.Close()
	if err := checkOwner(directory, unix.S_IFDIR); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(directory.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := checkOwner(f, unix.S_IFREG); err != nil {
		return nil, err
	}
	const limit = 1 << 16 // twice BPF_MAXINSNS instructions
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, err
	}
	return unmarshalProgram(data, key)
}

// checkOwner returns an error for a file of another kind, or that does not belong to the
// effective user, or that others can write to.
func checkOwner(f *os.File, kind uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind || int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: not trusted", f.Name())
	}
	return nil
}

// writeCached keeps a program.
func writeCached(dir, name string, data []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	prune(dir)
	path := filepath.Join(dir, name)
	_ = os.Remove(path) // it may be something that readCached did not trust
	return atomicfile.Write(path, data, 0o600)
}

// prune removes the oldest files if there are too many, and so the temporary files of killed
// writers. A live writer needs its file for a moment only.
func prune(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < cacheSize {
		return
	}
	age := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			age[e.Name()] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int {
		if age[a.Name()] < age[b.Name()] {
			return -1
		}
		return 1
	})
	for _, e := range entries[:len(entries)-cacheSize/2] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
