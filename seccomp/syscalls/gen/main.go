// Gen writes tables.go from the tables of a kernel's source tree:
//
//	go run ./gen -linux DIR -s390 DIR
//
// prototypes.go from its definitions of system calls, and named.go from its headers.
// -s390 is an older tree, up to Linux 6.18, for the 31-bit calls of s390, which
// later kernels no longer have. Debian's packages linux-source-X.Y are such trees.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// abi says where an architecture's calls stand: a table, the values of its
// second column that belong to it, and what its kernel adds to the numbers.
type abi struct {
	name   string
	table  string
	abis   []string
	offset uint32
}

const generic = "scripts/syscall.tbl"

var abis = []abi{
	{"AMD64", "arch/x86/entry/syscalls/syscall_64.tbl", []string{"common", "64"}, 0},
	{"X86", "arch/x86/entry/syscalls/syscall_32.tbl", []string{"i386"}, 0},
	{"X32", "arch/x86/entry/syscalls/syscall_64.tbl", []string{"common", "x32"}, 0x40000000},
	{"ARM64", generic, []string{"common", "64", "renameat", "rlimit", "memfd_secret"}, 0},
	{"ARM", "arch/arm/tools/syscall.tbl", []string{"common"}, 0},
	{"MIPS", "arch/mips/kernel/syscalls/syscall_o32.tbl", []string{"o32"}, 4000},
	{"MIPS64", "arch/mips/kernel/syscalls/syscall_n64.tbl", []string{"common", "n64"}, 5000},
	{"MIPS64N32", "arch/mips/kernel/syscalls/syscall_n32.tbl", []string{"n32"}, 6000},
	{"PPC", "arch/powerpc/kernel/syscalls/syscall.tbl", []string{"common", "nospu", "32"}, 0},
	{"PPC64", "arch/powerpc/kernel/syscalls/syscall.tbl", []string{"common", "nospu", "64"}, 0},
	{"S390X", "arch/s390/kernel/syscalls/syscall.tbl", []string{"common"}, 0},
	{"RISCV64", generic, []string{"common", "64", "riscv", "rlimit", "memfd_secret"}, 0},
	{"LOONGARCH64", generic, []string{"common", "64", "memfd_secret"}, 0},
}

// armPrivate are the calls of arch/arm/include/uapi/asm/unistd.h that no table has.
var armPrivate = map[string]uint32{
	"breakpoint": 0xf0001, "cacheflush": 0xf0002, "usr26": 0xf0003, "usr32": 0xf0004, "set_tls": 0xf0005, "get_tls": 0xf0006,
}

func main() {
	linux := flag.String("linux", "", "source `tree` of Linux")
	old := flag.String("s390", "", "source `tree` of an older Linux, for s390")
	only := flag.String("prototypes", "", "write only prototypes.go, from this source `tree`")
	headers := flag.String("headers", "", "write only named.go, from this source `tree`")
	flag.Parse()
	var err error
	switch {
	case *only != "":
		err = writePrototypes(*only)
	case *headers != "":
		err = writeConstants(*headers)
	default:
		err = errors.Join(run(*linux, *old), writePrototypes(*linux), writeConstants(*linux))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(linux, old string) error {
	g := &generator{linux: linux, calls: map[string]map[string]uint32{}, entries: map[string]string{}}
	for _, a := range abis {
		if err := g.read(filepath.Join(linux, a.table), a); err != nil {
			return err
		}
	}
	for name, nr := range armPrivate {
		g.calls["ARM"][name] = nr
	}
	if err := g.read31(filepath.Join(old, "arch/s390/kernel/syscalls/syscall.tbl")); err != nil {
		return err
	}
	masks, err := g.prototypes()
	if err != nil {
		return err
	}
	return g.write(masks)
}

type generator struct {
	linux   string
	calls   map[string]map[string]uint32 // architecture, call
	entries map[string]string            // of each call the kernel's function, without sys_
}

func (g *generator) read(path string, a abi) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if g.calls[a.name] == nil {
		g.calls[a.name] = map[string]uint32{}
	}
	for line := range strings.Lines(string(data)) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 3 || !slices.Contains(a.abis, fields[1]) {
			continue
		}
		nr, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name := fields[2]
		g.calls[a.name][name] = uint32(nr) + a.offset
		if _, known := g.entries[name]; !known && len(fields) > 3 && strings.HasPrefix(fields[3], "sys_") {
			g.entries[name] = strings.TrimPrefix(fields[3], "sys_")
		}
	}
	return nil
}

// read31 takes what an older tree has for 31 bits, and what came later from
// s390x, where it has the same number.
func (g *generator) read31(path string) error {
	if err := g.read(path, abi{"S390", path, []string{"common", "32"}, 0}); err != nil {
		return err
	}
	var last uint32
	for _, nr := range g.calls["S390"] {
		last = max(last, nr)
	}
	for name, nr := range g.calls["S390X"] {
		if nr > last {
			g.calls["S390"][name] = nr
		}
	}
	return nil
}

// define is a system call's definition: SYSCALL_DEFINE2(name, type, name, ...).
var define = regexp.MustCompile(`(?s)\bSYSCALL_DEFINE[1-6]\((\w+),(.*?)\)\s*\{`)

// narrow are the C types that the kernel reads at most 32 bits of.
var narrow = regexp.MustCompile(`^(const )?(int|unsigned|unsigned int|u32|__u32|uint32_t|__s32|pid_t|uid_t|gid_t|old_uid_t|old_gid_t|umode_t|mode_t|key_t|key_serial_t|clockid_t|timer_t|mqd_t|rwf_t|qid_t)$`)

// prototypes gives a bit mask of narrow arguments for each kernel function. Where
// configurations differ an argument counts only if it is narrow in all.
func (g *generator) prototypes() (map[string]uint8, error) {
	masks := map[string]uint8{}
	err := filepath.WalkDir(g.linux, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".c") || strings.Contains(path, "/tools/") {
			return err
		}
		if strings.Contains(path, "/arch/") && !strings.Contains(path, "/arch/x86/") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range define.FindAllSubmatch(data, -1) {
			mask := argumentMask(strings.Split(string(m[2]), ","))
			if other, twice := masks[string(m[1])]; twice {
				mask &= other
			}
			masks[string(m[1])] = mask
		}
		return nil
	})
	return masks, err
}

func argumentMask(parts []string) uint8 {
	var mask uint8
	for i := 0; i+1 < len(parts); i += 2 {
		if narrow.MatchString(strings.Join(strings.Fields(parts[i]), " ")) {
			mask |= 1 << (i / 2)
		}
	}
	return mask
}

func (g *generator) write(masks map[string]uint8) error {
	index := map[string]int{}
	var names []string
	for _, calls := range g.calls {
		for name := range calls {
			if _, known := index[name]; !known {
				index[name] = 0
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var b bytes.Buffer
	b.WriteString("// Code generated by gen from a kernel's tables. DO NOT EDIT.\n\npackage syscalls\n\nvar names = [...]string{\n")
	for i, name := range names {
		index[name] = i
		fmt.Fprintf(&b, "%q,\n", name)
	}
	b.WriteString("}\n\n// int32Args has a bit for each argument that is read as 32 bits or fewer.\nvar int32Args = [...]uint8{\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%#02x, // %s\n", masks[g.entries[name]], name)
	}
	b.WriteString("}\n")
	arches := []string{"S390"}
	for _, a := range abis {
		arches = append(arches, a.name)
	}
	slices.Sort(arches)
	for _, arch := range arches {
		fmt.Fprintf(&b, "\nvar table%s = [...]entry{\n", arch)
		for _, name := range names {
			if nr, ok := g.calls[arch][name]; ok {
				fmt.Fprintf(&b, "{%d, %#x}, // %s\n", index[name], nr, name)
			}
		}
		b.WriteString("}\n")
	}
	source, err := format.Source(b.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile("tables.go", source, 0o644)
}
