package trace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// childVariable makes the test binary the process that is traced.
const childVariable = "MINIRUN_TRACE_CHILD"

const calls = 1000

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		os.Exit(1)
	}
	for range calls {
		_, _, _ = unix.RawSyscall(unix.SYS_GETPRIORITY, 1, 2, 3)
	}
	os.Exit(0)
}

// parked starts the child and returns what lets it go and waits for its end.
func parked(t *testing.T, attr *syscall.SysProcAttr) (pid int, run func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.SysProcAttr = attr
	in, out := testenv.Start(t, cmd)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd.Process.Pid, func() {
		if _, err := io.WriteString(in, "go\n"); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// ownCgroup makes a cgroup v2 and returns a descriptor of it.
func ownCgroup(t *testing.T) int {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err != nil {
			continue
		}
		dir := filepath.Join(mount, fmt.Sprintf("trace-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			unix.Close(fd)
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return fd
	}
	testenv.Need(t, "cgroup v2", false)
	return -1
}

func need(t *testing.T) {
	t.Helper()
	testenv.Need(t, "amd64, for tracing", runtime.GOARCH == "amd64")
	testenv.Root(t)
	if err := Supported(); err != nil {
		testenv.Need(t, "tracing: "+err.Error(), false)
	}
}

// Exactly the calls of a process in the scope are seen, from the first to the last, with
// their arguments, though all processes of the machine go through the program.
func TestScope(t *testing.T) {
	need(t)
	for name, test := range map[string]struct {
		attr     func() *syscall.SysProcAttr
		complete bool
	}{
		"cgroup":        {func() *syscall.SysProcAttr { return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: ownCgroup(t)} }, true},
		"PID namespace": {func() *syscall.SysProcAttr { return &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			pid, run := parked(t, test.attr())
			scope, err := NewScope(pid, "", false)
			if err != nil {
				t.Fatal(err)
			}
			defer scope.Close()
			if scope.Complete() != test.complete {
				t.Errorf("complete: %v", scope.Complete())
			}
			counts, err := NewMap(MapOptions{"test_counts", unix.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 512})
			if err != nil {
				t.Fatal(err)
			}
			defer counts.Close()
			ring, err := NewRing("test_ring", 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			defer ring.Close()
			link, err := RawTracepoint("sys_enter", counting(scope, counts, ring))
			if err != nil {
				t.Fatal(err)
			}
			defer link.Close()
			stopped, stop, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer stopped.Close()
			var seen atomic.Int32
			done := make(chan error)
			go func() {
				done <- ring.Run(stopped, func(record []byte) {
					want := Call{Nr: unix.SYS_GETPRIORITY, Args: [6]uint64{1, 2, 3}}
					got := ReadCall(record, binary.NativeEndian.Uint64(record[RegsSize:]) != 0)
					if want.IP = got.IP; got != want || want.IP == 0 {
						t.Errorf("%+v", got)
					}
					seen.Add(1)
				})
			}()
			_, _, _ = unix.RawSyscall(unix.SYS_GETPRIORITY, 1, 2, 3) // by a process outside
			run()
			stop.Close()
			if err := <-done; err != nil || seen.Load() != calls {
				t.Errorf("%d calls were sent, %v", seen.Load(), err)
			}
			for nr, want := range map[uint32]uint64{unix.SYS_GETPRIORITY: calls, unix.SYS_EXIT_GROUP: 1, unix.SYS_REBOOT: 0} {
				if got, err := counts.Count(u32(nr)); got != want || err != nil {
					t.Errorf("call %d was counted %d times, want %d; %v", nr, got, want, err)
				}
			}
		})
	}
}

// counting counts calls, and sends the registers of getpriority.
func counting(s *Scope, counts *Map, ring *Ring) asm.Instructions {
	const regs, compat, key = -RegsSize - 16, -16, -8
	load := append(s.Enter("out"),
		asm.LoadMem(asm.R7, asm.R6, 8, asm.DWord), // the number
		asm.StoreMem(asm.RFP, key, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
		asm.JNE.Imm(asm.R7, unix.SYS_GETPRIORITY, "out"),
		asm.LoadMem(asm.R8, asm.R6, 0, asm.DWord),
	)
	load = append(load, LoadRegs(asm.RFP, regs, asm.R8)...)
	load = append(load, LoadCompat(compat)...)
	return append(load,
		asm.StoreMem(asm.RFP, compat, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, ring.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, regs),
		asm.Mov.Imm(asm.R3, RegsSize+8),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
}

func TestRefusedProgram(t *testing.T) {
	need(t)
	_, err := RawTracepoint("sys_enter", asm.Instructions{asm.Mov.Reg(asm.R0, asm.R7), asm.Return()})
	if !errors.Is(err, unix.EACCES) || !strings.Contains(err.Error(), "R7 !read_ok") {
		t.Errorf("%v", err)
	}
	_, err = RawTracepoint("no_such_tracepoint", asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()})
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
}

func TestMapKeys(t *testing.T) {
	need(t)
	m, err := NewMap(MapOptions{"test_hash", unix.BPF_MAP_TYPE_HASH, 8, 8, 4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if keys, err := m.Keys(); len(keys) != 0 || err != nil {
		t.Errorf("%v, %v", keys, err)
	}
	for n := uint64(1); n <= 3; n++ {
		if err := m.Update(u64(n), u64(10*n)); err != nil {
			t.Fatal(err)
		}
	}
	keys, err := m.Keys()
	if err != nil || len(keys) != 3 {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, key := range keys {
		if n, err := m.Count(key); err != nil || n != 10*binary.NativeEndian.Uint64(key) {
			t.Errorf("%v: %d, %v", key, n, err)
		}
	}
	if err := m.Update(u32(1), u64(1)); err == nil {
		t.Error("a key of another size is taken")
	}
	if _, err := m.Lookup(u64(9)); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
}

// The numbers of a value are sums of those of all CPUs.
func TestMapCounts(t *testing.T) {
	need(t)
	m, err := NewMap(MapOptions{"test_counts", unix.BPF_MAP_TYPE_PERCPU_ARRAY, 4, 24, 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var value []byte
	for range m.cpus {
		value = append(append(append(value, u64(1)...), u64(2)...), u64(3)...)
	}
	if err := m.Update(u32(0), value); err != nil {
		t.Fatal(err)
	}
	cpus := uint64(m.cpus)
	if got, err := m.Counts(u32(0)); err != nil || !slices.Equal(got, []uint64{cpus, 2 * cpus, 3 * cpus}) {
		t.Errorf("%v, %v on %d CPUs", got, err, cpus)
	}
}

// A map takes as many entries as it is made for, and no more.
func TestMapIsFull(t *testing.T) {
	need(t)
	const entries = 1000
	m, err := NewMap(MapOptions{"test_full", unix.BPF_MAP_TYPE_HASH, 8, 8, entries})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for n := range uint64(entries) {
		if err := m.Update(u64(n), u64(1)); err != nil {
			t.Fatal(n, err)
		}
	}
	if err := m.Update(u64(entries), u64(1)); !errors.Is(err, unix.E2BIG) {
		t.Errorf("one more: %v", err)
	}
}

func TestKernelTypes(t *testing.T) {
	types, err := KernelTypes("cap_capable", "cap_capabl", "kernel_cap_struct_of_no_kernel.x", "pt_regs.orig_ax", "pt_regs.ax", "pt_regs.orig")
	if err != nil {
		testenv.Need(t, "the kernel's type information", false)
	}
	if types["cap_capable"] == 0 {
		t.Error("cap_capable is not found")
	}
	for _, name := range []string{"cap_capabl", "kernel_cap_struct_of_no_kernel.x", "pt_regs.orig"} {
		if at, err := types.find(name); !errors.Is(err, errBTF) {
			t.Errorf("%s: %d, %v", name, at, err)
		}
	}
	// struct pt_regs is part of the kernel's interface to programs.
	for name, want := range map[string]int32{"pt_regs.orig_ax": RegsNr, "pt_regs.ax": 10 * 8} {
		if at, err := types.Offset(name); runtime.GOARCH == "amd64" && (err != nil || at != want) {
			t.Errorf("%s: %d, %v", name, at, err)
		}
	}
}

func FuzzTypes(f *testing.F) {
	small := []byte("\x9f\xeb\x01\x00\x18\x00\x00\x00" + "\x00\x00\x00\x00\x30\x00\x00\x00" + "\x30\x00\x00\x00\x07\x00\x00\x00" +
		"\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00" + "\x01\x00\x00\x00\x00\x00\x00\x0c\x01\x00\x00\x00" +
		"\x01\x00\x00\x00\x01\x00\x00\x04\x00\x00\x00\x00" + "\x05\x00\x00\x00\x01\x00\x00\x00\x40\x00\x00\x00" + "\x00fun\x00m\x00")
	f.Add(small)
	find := func(data []byte) (Types, error) { return findTypes(data, []string{"fun", "fun.m", "m.fun"}) }
	f.Fuzz(func(t *testing.T, data []byte) {
		types, err := find(data)
		if id, ok := types["fun"]; err == nil && ok && id == 0 {
			t.Error("no type has number 0")
		}
	})
	types, err := find(small)
	if want := (Types{"fun": 2, "fun.m": 8}); err != nil || !maps.Equal(types, want) {
		f.Errorf("%v, %v, want %v", types, err, want)
	}
}

func TestFindFunctions(t *testing.T) {
	const symbols = "ffffffff81000010 T two\nffffffff81000000 T one\nffffffff81000018 t three\t[module]\nffffffff81000030 D data\n\nx y z\n"
	for name, want := range map[string]Range{"one": {0xffffffff81000000, 0xffffffff81000010}, "two": {0xffffffff81000010, 0xffffffff81000018}, "data": {0xffffffff81000030, 0xffffffff81000031}} {
		if got, err := findFunctions([]byte(symbols), []string{"none", name}); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %x, %v, want %x", name, got, err, want)
		}
	}
	if got, err := findFunctions([]byte("0000000000000000 T one\n"), []string{"one"}); err == nil { // kptr_restrict
		t.Errorf("%x", got)
	}
}
