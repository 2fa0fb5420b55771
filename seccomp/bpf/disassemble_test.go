package bpf_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/bpftest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// reassemble makes a program of the text of Disassemble, from nothing else. The operand of a
// comparison is the number in brackets, or the name of an architecture.
func reassemble(t *testing.T, text string, little bool) []unix.SockFilter {
	t.Helper()
	places := map[string]int{}
	var lines []string
	for line := range strings.Lines(text) {
		if label, ok := strings.CutSuffix(line, ":\n"); ok {
			if _, twice := places[label]; twice {
				t.Fatalf("the label %s is there twice", label)
			}
			places[label] = len(lines)
			continue
		}
		number, rest, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if number != strconv.Itoa(len(lines)) {
			t.Fatalf("line %q is not number %d", line, len(lines))
		}
		lines = append(lines, rest)
	}
	var all []unix.SockFilter
	for i, line := range lines {
		distance := func(label string) uint32 {
			if label == "" {
				return 0
			}
			place, ok := places[label]
			if !ok || place <= i {
				t.Fatalf("instruction %d: %q leads nowhere", i, line)
			}
			return uint32(place - i - 1)
		}
		all = append(all, reassembleLine(t, line, little, distance))
	}
	return all
}

var (
	ifLine        = regexp.MustCompile(`^if (\S+) (==|>|>=|has) (.+?)(?: then (\S+))?(?: else (\S+))?$`)
	argumentField = regexp.MustCompile(`^args\[([0-5])\]\.(low|high)$`)
	rawLine       = regexp.MustCompile(`^raw  (\S+) (\d+) (\d+) (\S+)$`)
)

func reassembleLine(t *testing.T, line string, little bool, distance func(string) uint32) unix.SockFilter {
	t.Helper()
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 0, 32)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return uint32(n)
	}
	if m := ifLine.FindStringSubmatch(line); m != nil {
		op := map[string]uint16{"==": unix.BPF_JEQ, ">": unix.BPF_JGT, ">=": unix.BPF_JGE, "has": unix.BPF_JSET}[m[2]]
		operand := m[3]
		if _, inside, ok := strings.Cut(strings.TrimSuffix(operand, ")"), " ("); ok {
			operand = inside
		}
		k, named := auditNumbers[operand]
		if !named {
			k = number(operand)
		}
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: uint8(distance(m[4])), Jf: uint8(distance(m[5])), K: k}
	}
	if m := rawLine.FindStringSubmatch(line); m != nil {
		return unix.SockFilter{Code: uint16(number(m[1])), Jt: uint8(number(m[2])), Jf: uint8(number(m[3])), K: number(m[4])}
	}
	word, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch word {
	case "load":
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: fieldOffset(t, rest, little)}
	case "and":
		return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: number(rest)}
	case "jump":
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: distance(rest)}
	case "ret":
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: returned(t, rest)}
	}
	t.Fatalf("%q is no instruction", line)
	return unix.SockFilter{}
}

// auditNumbers are those of linux/audit.h: the ELF machine, and bits for 64 bits
// and little-endian.
var auditNumbers = map[string]uint32{
	"amd64": unix.AUDIT_ARCH_X86_64, "x86": unix.AUDIT_ARCH_I386, "arm64": unix.AUDIT_ARCH_AARCH64, "arm": unix.AUDIT_ARCH_ARM,
	"the x32 bit": 0x40000000, // __X32_SYSCALL_BIT of asm/unistd.h
	"s390x":       unix.AUDIT_ARCH_S390X, "s390": unix.AUDIT_ARCH_S390,
}

// fieldOffset has struct seccomp_data of linux/seccomp.h: int nr, __u32 arch,
// __u64 instruction_pointer, __u64 args[6].
func fieldOffset(t *testing.T, field string, little bool) uint32 {
	t.Helper()
	switch field {
	case "nr":
		return 0
	case "arch":
		return 4
	case "instruction_pointer.low", "instruction_pointer.high":
		if (field == "instruction_pointer.low") == little {
			return 8
		}
		return 12
	}
	m := argumentField.FindStringSubmatch(field)
	if m == nil {
		t.Fatalf("no field %q", field)
	}
	offset := 16 + 8*uint32(m[1][0]-'0')
	if (m[2] == "low") != little {
		offset += 4
	}
	return offset
}

func returned(t *testing.T, text string) uint32 {
	t.Helper()
	name, data, _ := strings.Cut(strings.TrimSuffix(text, ")"), "(")
	action, ok := map[string]uint32{
		"KILL_PROCESS": 0x80000000, "KILL_THREAD": 0, "TRAP": 0x30000, "ERRNO": 0x50000, "NOTIFY": 0x7fc00000,
		"TRACE": 0x7ff00000, "LOG": 0x7ffc0000, "ALLOW": 0x7fff0000,
	}[name]
	if !ok {
		n, err := strconv.ParseUint(name, 0, 32)
		if err != nil {
			t.Fatalf("no verdict %q", text)
		}
		return uint32(n)
	}
	switch n, err := strconv.ParseUint(data, 10, 16); {
	case data == "":
		return action
	case err == nil:
		return action | uint32(n)
	}
	for e := range unix.Errno(4096) {
		if unix.ErrnoName(e) == data {
			return action | uint32(e)
		}
	}
	t.Fatalf("no errno %q", data)
	return 0
}

// The text is complete: the program can be assembled again from it.
func TestDisassembleWhole(t *testing.T) {
	for _, name := range []string{"default", "arguments", "capability-gates", "everything", "ints", "old-format", "recent-calls"} {
		for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.ARM64, syscalls.S390X} {
			if name == "old-format" && arch == syscalls.S390X {
				continue // see TestCompileErrors
			}
			t.Run(fmt.Sprintf("%s/%s", name, arch), func(t *testing.T) {
				program := compiled(t, name, arch)
				wholeText(t, program)
			})
		}
	}
	r := rand.New(rand.NewPCG(1, 9))
	for range 2000 { // as dump may meet them: not libseccomp's, and with ways that nothing leads to
		wholeText(t, bpftest.RandomProgram(r, []syscalls.Arch{syscalls.AMD64, syscalls.S390X}[r.IntN(2)]))
	}
}

func wholeText(t *testing.T, p *bpf.Program) {
	t.Helper()
	text := p.Disassemble()
	got := reassemble(t, text, p.Arch != syscalls.S390X)
	if diff := cmp.Diff(p.Instructions, got); diff != "" {
		t.Fatalf("%s\n%s", diff, text)
	}
}

// seenBy runs the program on every call of the architectures. It returns for each instruction
// the AUDIT_ARCH values of the calls that reached it, and whether it was reached with the
// call's number in the accumulator.
func seenBy(p *bpf.Program, arches []syscalls.Arch) (audits [][]uint32, number []bool) {
	audits, number = make([][]uint32, len(p.Instructions)), make([]bool, len(p.Instructions))
	for _, arch := range arches {
		for nr := range uint32(700) {
			if arch == syscalls.X32 {
				nr |= 0x40000000
			}
			loaded, a := uint32(0), uint32(0)
			for at := 0; ; at++ {
				if !slices.Contains(audits[at], arch.Audit()) {
					audits[at] = append(audits[at], arch.Audit())
				}
				insn := p.Instructions[at]
				number[at] = loaded == 0
				yes := false
				switch insn.Code {
				case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
					loaded, a = insn.K, map[uint32]uint32{0: nr, 4: arch.Audit()}[insn.K]
					continue
				case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
					a &= insn.K
					continue
				case unix.BPF_JMP | unix.BPF_JA:
					at += int(insn.K)
					continue
				case unix.BPF_JMP | unix.BPF_JEQ:
					yes = a == insn.K
				case unix.BPF_JMP | unix.BPF_JGT:
					yes = a > insn.K
				case unix.BPF_JMP | unix.BPF_JGE:
					yes = a >= insn.K
				case unix.BPF_JMP | unix.BPF_JSET:
					yes = a&insn.K != 0
				}
				if insn.Code == unix.BPF_RET|unix.BPF_K {
					break
				}
				at += int(insn.Jf)
				if yes {
					at += int(insn.Jt) - int(insn.Jf)
				}
			}
		}
	}
	return audits, number
}

// A number is shown by its name if all calls that reach the comparison are of one architecture,
// as running the program shows. The name is libseccomp's.
func TestDisassembleNames(t *testing.T) {
	tokens := map[uint32]libseccomp.ScmpArch{unix.AUDIT_ARCH_X86_64: libseccomp.ArchAMD64, unix.AUDIT_ARCH_I386: libseccomp.ArchX86}
	program := compiled(t, "default", syscalls.AMD64)
	audits, number := seenBy(program, []syscalls.Arch{syscalls.AMD64, syscalls.X86, syscalls.X32})
	named := regexp.MustCompile(`^ *(\d+)  if nr (?:==|>|>=) (\w+) \(0x(\w+)\)`)
	lines := map[int][]string{}
	for line := range strings.Lines(program.Disassemble()) {
		if m := named.FindStringSubmatch(line); m != nil {
			at, _ := strconv.Atoi(m[1])
			lines[at] = m
		}
	}
	count := 0
	for i, insn := range program.Instructions {
		if len(audits[i]) == 0 || !number[i] || insn.Code&0x07 != unix.BPF_JMP || insn.Code&0xf0 == unix.BPF_JA {
			continue
		}
		token := tokens[audits[i][0]]
		if insn.K&0x40000000 != 0 {
			token = libseccomp.ArchX32
		}
		want, err := libseccomp.ScmpSyscall(int32(insn.K)).GetNameByArch(token)
		m := lines[i]
		switch {
		case m == nil && (len(audits[i]) > 1 || err != nil || insn.K == 0x40000000):
		case m == nil:
			t.Errorf("instruction %d compares with %s, and does not say so", i, want)
		case len(audits[i]) > 1:
			t.Errorf("instruction %d is said to compare with %s, but calls of %#x come there", i, m[2], audits[i])
		case err == nil && m[2] != want:
			t.Errorf("instruction %d is said to compare with %s, libseccomp calls it %s", i, m[2], want)
		case m[3] != fmt.Sprintf("%x", insn.K):
			t.Errorf("instruction %d compares with %#x, not %s", i, insn.K, m[3])
		default:
			count++
		}
	}
	if count < 500 {
		t.Errorf("only %d comparisons have a name", count)
	}
}

// A program that seccomp(2) would refuse is shown all the same.
func TestDisassembleRefused(t *testing.T) {
	for name, test := range map[string]struct {
		program []unix.SockFilter
		want    string
	}{
		"empty":              {nil, ""},
		"jump to nowhere":    {[]unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JA, K: 1 << 20}}, "jump 1048577"},
		"the longest jump":   {[]unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JA, K: 1<<31 - 2}}, "jump 2147483647"},
		"branches to beyond": {[]unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 7, Jf: 255}}, "if A == 0x0 then 8 else 256"},
		"no instruction":     {[]unix.SockFilter{{Code: 0xffff, Jt: 1, Jf: 2, K: 3}}, "raw  0xffff 1 2 0x3"},
	} {
		p := bpf.Program{Arch: syscalls.AMD64, Instructions: test.program}
		if got := p.Disassemble(); !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// Compiled by gcc, the array is the program.
func TestC(t *testing.T) {
	const main = `
#include <stdio.h>

int main(void) { return fwrite(filter, sizeof filter, 1, stdout) != 1; }
`
	program := compiled(t, "default", syscalls.AMD64)
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "filter.c"), filepath.Join(dir, "filter")
	if err := os.WriteFile(source, []byte(program.C()+main), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, program.Bytes()) {
		t.Error("the array holds another program than --as bpf")
	}
}

// The bytes are struct sock_filter, in the order of the target.
func TestBytes(t *testing.T) {
	for arch, want := range map[syscalls.Arch]string{
		syscalls.AMD64: "\x15\x00\x01\x02\x3e\x00\x00\xc0",
		syscalls.S390X: "\x00\x15\x01\x02\xc0\x00\x00\x3e",
	} {
		p := &bpf.Program{Arch: arch, Instructions: []unix.SockFilter{{Code: unix.BPF_JMP | unix.BPF_JEQ, Jt: 1, Jf: 2, K: 0xc000003e}}}
		if got := p.Bytes(); string(got) != want {
			t.Errorf("%s: got %x, want %x", arch, got, want)
		}
	}
}
