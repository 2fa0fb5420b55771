package launcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/asm"
	cgroupdevices "github.com/opencontainers/cgroups/devices/config"
	"golang.org/x/sys/unix"
)

// deviceLicence is that of the programs.
const deviceLicence = "Apache"

// deviceProgram returns a BPF program (BPF_PROG_TYPE_CGROUP_DEVICE) that allows what rules
// allow, a list of what a container may use after a rule that denies all. It decides as
// that of opencontainers/cgroups does, which does not show its own, and would take the kernel
// longer to verify than all of a container's cgroup: here almost every rule is one comparison.
func deviceProgram(rules []*cgroupdevices.Rule) ([]byte, error) {
	if len(rules) == 0 || rules[0].Allow || rules[0].Type != cgroupdevices.WildcardDevice {
		return nil, errors.New("devices that are not denied at first")
	}
	char, block, err := allowedDevices(rules[1:])
	if err != nil {
		return nil, err
	}
	program := asm.Instructions{ // struct bpf_cgroup_dev_ctx: type and access, major, minor
		asm.Mov.Imm32(asm.R0, 0),
		asm.LoadMem(regKind, asm.R1, 0, asm.Word), asm.And.Imm32(regKind, 0xffff),
		asm.LoadMem(regAccess, asm.R1, 0, asm.Word), asm.RSh.Imm32(regAccess, 16),
		asm.LoadMem(regMajor, asm.R1, 4, asm.Word), asm.LoadMem(regMinor, asm.R1, 8, asm.Word),
		asm.Mov.Reg32(regBoth, regMajor), asm.LSh.Imm32(regBoth, minorBits), asm.Or.Reg32(regBoth, regMinor),
	}
	program = append(program, asm.JNE.Imm(regKind, unix.BPF_DEVCG_DEV_CHAR, "not-char"))
	program = append(program, compareDevices("char", char)...)
	program = append(program, asm.JNE.Imm(regKind, unix.BPF_DEVCG_DEV_BLOCK, "deny").WithSymbol("not-char"))
	program = append(program, compareDevices("block", block)...)
	program = append(program, asm.Return().WithSymbol("deny"))
	if len(char)+len(block) > 0 {
		program = append(program, asm.Mov.Imm32(asm.R0, 1).WithSymbol("allow"), asm.Return())
	}
	endian := binary.ByteOrder(binary.LittleEndian) // asm does not know binary.NativeEndian
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		endian = binary.BigEndian
	}
	var b bytes.Buffer
	err = program.Marshal(&b, endian)
	return b.Bytes(), err
}

// The registers of a program. regBoth is major and minor as the kernel has them in its
// dev_t (linux/kdev_t.h).
const (
	regKind, regAccess, regMajor, regMinor, regBoth = asm.R2, asm.R3, asm.R4, asm.R5, asm.R6

	minorBits = 20
	majorBits = 12
)

// device is what a rule is about: -1 is any number.
type device struct{ major, minor int64 }

// allowedDevice is one with BPF_DEVCG_ACC_* of all rules about it.
type allowedDevice struct {
	device
	access int32
}

// allowedDevices are those of rules.
func allowedDevices(rules []*cgroupdevices.Rule) (char, block []allowedDevice, err error) {
	for _, r := range rules {
		of := &char
		switch {
		case !r.Allow || r.Major >= 1<<majorBits || r.Minor >= 1<<minorBits:
			return nil, nil, fmt.Errorf("the device rule %s", r.CgroupString())
		case r.Type == cgroupdevices.BlockDevice:
			of = &block
		case r.Type != cgroupdevices.CharDevice:
			return nil, nil, fmt.Errorf("the device rule %s", r.CgroupString())
		}
		d := device{max(r.Major, -1), max(r.Minor, -1)}
		if i := slices.IndexFunc(*of, func(a allowedDevice) bool { return a.device == d }); i >= 0 {
			(*of)[i].access |= access(r.Permissions)
		} else {
			*of = append(*of, allowedDevice{d, access(r.Permissions)})
		}
	}
	return char, block, nil
}

// compareDevices are the instructions for devices of one kind. They end with a jump.
func compareDevices(kind string, devices []allowedDevice) (program asm.Instructions) {
	const all = unix.BPF_DEVCG_ACC_READ | unix.BPF_DEVCG_ACC_WRITE | unix.BPF_DEVCG_ACC_MKNOD
	for i, d := range devices {
		compare := asm.JEq.Imm32(regBoth, int32(uint32(d.major)<<minorBits|uint32(d.minor)), "allow")
		switch {
		case d.major < 0 && d.minor < 0 && d.access == all:
			return append(program, asm.Ja.Label("allow")) // the kernel refuses what cannot be reached
		case d.major < 0 && d.minor < 0:
			compare = asm.Ja.Label("allow")
		case d.minor < 0:
			compare = asm.JEq.Imm32(regMajor, int32(d.major), "allow")
		case d.major < 0:
			compare = asm.JEq.Imm32(regMinor, int32(d.minor), "allow")
		}
		if d.access == all {
			program = append(program, compare)
			continue
		}
		next := fmt.Sprint(kind, i)
		program = append(program,
			asm.Mov.Reg32(asm.R1, regAccess), asm.And.Imm32(asm.R1, all&^d.access), asm.JNE.Imm(asm.R1, 0, next),
			compare, asm.Mov.Imm32(asm.R0, 0).WithSymbol(next))
	}
	return append(program, asm.Ja.Label("deny"))
}

// access returns BPF_DEVCG_ACC_* of linux/bpf.h.
func access(p cgroupdevices.Permissions) (set int32) {
	for letter, bit := range map[string]int32{"r": unix.BPF_DEVCG_ACC_READ, "w": unix.BPF_DEVCG_ACC_WRITE, "m": unix.BPF_DEVCG_ACC_MKNOD} {
		if strings.Contains(string(p), letter) {
			set |= bit
		}
	}
	return set
}
