package launcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/cilium/ebpf/asm"
	cgroupdevices "github.com/opencontainers/cgroups/devices/config"
	"golang.org/x/sys/unix"
)

// deviceLicence is that of the programs.
const deviceLicence = "Apache"

// deviceProgram returns a BPF program (BPF_PROG_TYPE_CGROUP_DEVICE) that allows what rules
// allow, a list of what a container may use after a rule that denies all. It decides as
// that of opencontainers/cgroups does, which does not show its own.
func deviceProgram(rules []*cgroupdevices.Rule) ([]byte, error) {
	if len(rules) == 0 || rules[0].Allow || rules[0].Type != cgroupdevices.WildcardDevice {
		return nil, errors.New("devices that are not denied at first")
	}
	type device struct {
		kind         cgroupdevices.Type
		major, minor int64
	}
	allowed, order := map[device]int32{}, []device(nil)
	for _, r := range rules[1:] {
		d := device{r.Type, r.Major, r.Minor}
		if !r.Allow || r.Type != cgroupdevices.CharDevice && r.Type != cgroupdevices.BlockDevice || max(r.Major, r.Minor) > math.MaxInt32 {
			return nil, fmt.Errorf("the device rule %s", r.CgroupString())
		}
		if _, known := allowed[d]; !known {
			order = append(order, d)
		}
		allowed[d] |= access(r.Permissions)
	}
	program := asm.Instructions{ // struct bpf_cgroup_dev_ctx: type and access, major, minor
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), asm.And.Imm32(asm.R2, 0xffff),
		asm.LoadMem(asm.R3, asm.R1, 0, asm.Word), asm.RSh.Imm32(asm.R3, 16),
		asm.LoadMem(asm.R4, asm.R1, 4, asm.Word), asm.LoadMem(asm.R5, asm.R1, 8, asm.Word),
	}
	for i, d := range order {
		next := fmt.Sprint("next-", i)
		kind := int32(unix.BPF_DEVCG_DEV_CHAR)
		if d.kind == cgroupdevices.BlockDevice {
			kind = unix.BPF_DEVCG_DEV_BLOCK
		}
		program = append(program,
			asm.JNE.Imm(asm.R2, kind, next),
			asm.Mov.Reg32(asm.R1, asm.R3), asm.And.Imm32(asm.R1, allowed[d]), asm.JNE.Reg(asm.R1, asm.R3, next))
		if d.major >= 0 {
			program = append(program, asm.JNE.Imm(asm.R4, int32(d.major), next))
		}
		if d.minor >= 0 {
			program = append(program, asm.JNE.Imm(asm.R5, int32(d.minor), next))
		}
		program = append(program, asm.Mov.Imm32(asm.R0, 1), asm.Return(), asm.Mov.Imm32(asm.R0, 0).WithSymbol(next))
	}
	program = append(program, asm.Mov.Imm32(asm.R0, 0), asm.Return())
	endian := binary.ByteOrder(binary.LittleEndian) // asm does not know binary.NativeEndian
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		endian = binary.BigEndian
	}
	var b bytes.Buffer
	err := program.Marshal(&b, endian)
	return b.Bytes(), err
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
