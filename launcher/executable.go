package launcher

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/arm"
)

// execFailed returns the error of a command that the kernel did not execute, with a hint
// from the command's file. Init must still exist, since the file is looked up in its root.
func execFailed(command *specs.Process, init int, e *arm.Error) error {
	failed := &Error{Op: "run " + command.Args[0], Err: e.Errno, Code: StatusNotExecutable}
	help := ""
	switch e.Errno {
	case unix.ENOENT:
		failed.Code = StatusNotFound
		help = insideHelp
	case unix.E2BIG:
		help = "the arguments and the environment are too long together"
	case unix.ETXTBSY:
		help = "the file is open for writing"
	}
	return hint.With(failed, cmp.Or(explainExec(command.Cwd, init, e), help))
}

// explainExec returns a hint on why the kernel did not execute the command's file, or "".
func explainExec(cwd string, init int, e *arm.Error) string {
	root, err := os.OpenFile("/proc/"+strconv.Itoa(init)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer root.Close()
	path := e.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(cwd, path)
	}
	x, err := readExecutable(root, path)
	if err != nil {
		return ""
	}
	const depth = 4 // exec_binprm of fs/exec.c returns ELOOP for more than 5
	return x.explain(root, e.Errno, depth)
}

// executable is what the kernel looks at when it executes a file.
type executable struct {
	head   []byte // its first bytes: the line with #!, or the ELF and program headers
	noexec bool   // its file system is mounted noexec
}

// headSize is enough for the headers of any program that a linker makes, and more than the
// kernel reads of a script (256, BINPRM_BUF_SIZE of linux/binfmts.h).
const headSize = 4096

// readExecutable reads the first bytes of a regular file in a container. The container
// is untrusted: links are followed as if root were "/".
func readExecutable(root *os.File, path string) (*executable, error) {
	handle, err := pathrs.OpenatInRoot(root, path)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errors.New("not a regular file"))
	}
	file, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(file, headSize))
	return &executable{head, fs.Flags&unix.ST_NOEXEC != 0}, err
}

// explain returns why execve(2) of the file failed with errno, or "". The interpreter of a
// script may be a script itself; depth limits this, as the kernel does.
func (x *executable) explain(root *os.File, errno unix.Errno, depth int) string {
	if errno == unix.EACCES && x.noexec {
		return "its file system is mounted noexec"
	}
	if name, ok := x.interpreter(); ok {
		return explainInterpreter(root, name, errno, depth)
	}
	if p, ok := x.program(); ok {
		return p.explain(root, errno)
	}
	switch {
	case errno != unix.ENOEXEC:
		return ""
	case len(x.head) == 0:
		return "the file is empty"
	case !bytes.ContainsRune(x.head, 0):
		return "a script begins with a line that names its interpreter, such as #!/bin/sh; or run it as: sh FILE"
	default:
		return "the file is neither a program of this machine nor a script"
	}
}

// interpreter returns the interpreter that the #! line names, as fs/binfmt_script.c reads
// it. ok is false without such a line.
func (x *executable) interpreter() (name string, ok bool) {
	line, ok := bytes.CutPrefix(x.head, []byte("#!"))
	if !ok {
		return "", false
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t\x00"); i >= 0 {
		line = line[:i]
	}
	return string(line), true
}

func explainInterpreter(root *os.File, name string, errno unix.Errno, depth int) string {
	if name == "" {
		return "its first line, #!, names no interpreter"
	}
	shown := strings.ReplaceAll(name, "\r", "^M")
	if !filepath.IsAbs(name) {
		return "its interpreter " + shown + " is not an absolute path"
	}
	x, err := readExecutable(root, name)
	switch {
	case errors.Is(err, os.ErrNotExist) && strings.HasSuffix(name, "\r"):
		return "the interpreter " + shown + " does not exist: the file has CRLF line ends"
	case errors.Is(err, os.ErrNotExist):
		return "the interpreter " + shown + " does not exist in the container"
	case errno == unix.EACCES:
		return "the interpreter " + shown + " may not be executed"
	case err != nil || depth == 0:
		return ""
	}
	why := x.explain(root, errno, depth-1)
	if why == "" {
		return ""
	}
	return "of its interpreter " + shown + ": " + why
}

// program is what the ELF headers of an executable say.
type program struct {
	machine elf.Machine
	loader  string // from PT_INTERP, or ""
}

// program reads the ELF headers that are within headSize. ok is false for a file that is not
// ELF.
func (x *executable) program() (p program, ok bool) {
	if len(x.head) < elf.EI_NIDENT || string(x.head[:4]) != elf.ELFMAG {
		return program{}, false
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(x.head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	var header elf.Header64
	if _, err := binary.Decode(x.head, order, &header); err != nil {
		return program{}, true
	}
	p.machine = elf.Machine(header.Machine) // at the same offset in a 32-bit header
	if elf.Class(x.head[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return p, true
	}
	for i := range uint64(header.Phnum) {
		var ph elf.Prog64
		if _, err := binary.Decode(x.at(header.Phoff+i*uint64(header.Phentsize)), order, &ph); err != nil {
			break
		}
		if elf.ProgType(ph.Type) == elf.PT_INTERP {
			name, _, _ := bytes.Cut(x.at(ph.Off), []byte{0})
			p.loader = string(name)
			break
		}
	}
	return p, true
}

// at returns the head from an offset on; nothing if that is beyond the end.
func (x *executable) at(offset uint64) []byte {
	return x.head[min(offset, uint64(len(x.head))):]
}

func (p program) explain(root *os.File, errno unix.Errno) string {
	if own := machineOf(runtime.GOARCH); errno == unix.ENOEXEC && own != elf.EM_NONE && p.machine != own {
		return fmt.Sprintf("it is a program for %s, and this machine is %s", machineName(p.machine), runtime.GOARCH)
	}
	if errno == unix.ENOENT && p.loader != "" {
		if _, err := readExecutable(root, p.loader); errors.Is(err, os.ErrNotExist) {
			return "its loader " + p.loader + " does not exist in the container: it was built for another C library, or for another machine"
		}
	}
	return ""
}

// machines are the architectures with their names in GOARCH.
var machines = [...]struct {
	machine elf.Machine
	name    string
}{
	{elf.EM_X86_64, "amd64"},
	{elf.EM_386, "386"},
	{elf.EM_AARCH64, "arm64"},
	{elf.EM_ARM, "arm"},
	{elf.EM_PPC64, "ppc64le"},
	{elf.EM_S390, "s390x"},
	{elf.EM_RISCV, "riscv64"},
}

func machineOf(name string) elf.Machine {
	for _, m := range machines {
		if m.name == name {
			return m.machine
		}
	}
	return elf.EM_NONE
}

func machineName(machine elf.Machine) string {
	for _, m := range machines {
		if m.machine == machine {
			return m.name
		}
	}
	return fmt.Sprintf("ELF machine %d", uint16(machine))
}
