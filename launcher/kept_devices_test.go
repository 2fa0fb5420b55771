package launcher

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	cgroupdevices "github.com/opencontainers/cgroups/devices/config"
	"golang.org/x/sys/unix"
)

// A program for devices allows what one of its rules does, and the kernel takes it.
func TestDeviceProgram(t *testing.T) {
	all := &cgroupdevices.Rule{Type: 'a', Major: -1, Minor: -1, Permissions: "rwm"}
	rule := func(kind rune, major, minor int64, access string) *cgroupdevices.Rule {
		return &cgroupdevices.Rule{Type: cgroupdevices.Type(kind), Major: major, Minor: minor, Permissions: cgroupdevices.Permissions(access), Allow: true}
	}
	for name, rules := range map[string][]*cgroupdevices.Rule{
		"none":         nil,
		"all allowed":  {rule('a', -1, -1, "rwm")},
		"denied":       {all, all},
		"no such kind": {all, rule('p', 1, 3, "r")},
		"no dev_t":     {all, rule('c', 1, 1<<20, "r")},
	} {
		if program, err := deviceProgram(rules); err == nil {
			t.Errorf("%s: %d bytes", name, len(program))
		}
	}
	for name, rules := range map[string][]*cgroupdevices.Rule{
		"nothing":    {all},
		"one":        {all, rule('c', 1, 3, "rwm")},
		"merged":     {all, rule('c', 1, 3, "r"), rule('c', 1, 3, "w"), rule('b', 1, 3, "m")},
		"wildcards":  {all, rule('b', -1, -1, "m"), rule('c', 1, -1, "mr"), rule('c', -1, 3, "w"), rule('c', 5, -1, "rwm"), rule('b', -1, 0, "rwm")},
		"everything": {all, rule('c', -1, -1, "rwm"), rule('c', 1, 3, "rwm"), rule('b', 8, -1, "rwm")},
		"usual":      {all, rule('c', -1, -1, "m"), rule('b', -1, -1, "m"), rule('c', 1, 3, "rwm"), rule('c', 10, 200, "rwm"), rule('c', 136, -1, "rwm"), rule('c', 4095, 1<<20-1, "r")},
	} {
		t.Run(name, func(t *testing.T) { testDeviceProgram(t, rules) })
	}
}

func testDeviceProgram(t *testing.T, rules []*cgroupdevices.Rule) {
	t.Helper()
	data, err := deviceProgram(rules)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		var program asm.Instructions
		if err := program.Unmarshal(bytes.NewReader(data), binary.LittleEndian); err != nil {
			t.Fatal(err)
		}
		loaded, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.CGroupDevice, Instructions: program, License: deviceLicence})
		if err != nil {
			t.Fatalf("the kernel refuses the program: %v", err)
		}
		defer loaded.Close()
	}
	kinds := map[cgroupdevices.Type]uint32{cgroupdevices.CharDevice: unix.BPF_DEVCG_DEV_CHAR, cgroupdevices.BlockDevice: unix.BPF_DEVCG_DEV_BLOCK, 'p': 4}
	for kind, number := range kinds {
		for _, major := range []uint32{0, 1, 2, 5, 8, 10, 136, 4095} {
			for _, minor := range []uint32{0, 1, 3, 4, 200, 1<<20 - 1} {
				allowed := map[[2]int64]int32{} // by the devices that rules name
				for _, r := range rules[1:] {
					if r.Type == kind && (r.Major < 0 || uint32(r.Major) == major) && (r.Minor < 0 || uint32(r.Minor) == minor) {
						allowed[[2]int64{r.Major, r.Minor}] |= access(r.Permissions)
					}
				}
				for asked := int32(1); asked < 8; asked++ {
					want := false
					for _, some := range allowed {
						want = want || asked&^some == 0
					}
					if got := runDeviceProgram(t, data, [3]uint32{number | uint32(asked)<<16, major, minor}); got != want {
						t.Errorf("%c %d:%d, access %d: %v, want %v", kind, major, minor, asked, got, want)
					}
				}
			}
		}
	}
}

// runDeviceProgram interprets a program, as Linux' Documentation/bpf/standardization says.
func runDeviceProgram(t *testing.T, data []byte, context [3]uint32) bool {
	t.Helper()
	var reg [11]uint64
	for pc := 0; ; pc++ {
		in := data[pc*8:]
		code, dst, src := in[0], in[1]&15, in[1]>>4
		offset, imm := int(int16(binary.LittleEndian.Uint16(in[2:]))), binary.LittleEndian.Uint32(in[4:])
		operand := imm
		if code&8 != 0 {
			operand = uint32(reg[src])
		}
		jumps := false
		switch code {
		case 0x61: // LDX, W
			reg[dst] = uint64(context[offset/4])
		case 0xb4, 0xbc: // MOV, 32 bits
			reg[dst] = uint64(operand)
		case 0x54:
			reg[dst] = uint64(uint32(reg[dst]) & operand)
		case 0x44, 0x4c:
			reg[dst] = uint64(uint32(reg[dst]) | operand)
		case 0x64:
			reg[dst] = uint64(uint32(reg[dst]) << operand)
		case 0x74:
			reg[dst] = uint64(uint32(reg[dst]) >> operand)
		case 0x55: // JNE
			jumps = reg[dst] != uint64(int64(int32(imm)))
		case 0x16: // JEQ, 32 bits
			jumps = uint32(reg[dst]) == imm
		case 0x05: // JA
			jumps = true
		case 0x95: // EXIT
			return reg[0] == 1
		default:
			t.Fatalf("instruction %d: %#x", pc, code)
		}
		if jumps {
			pc += offset
		}
	}
}
