package analyze

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// witness is a call and the verdict that the walker gives it.
type witness struct {
	call    bpf.Call
	verdict bpf.Verdict
}

// witnesses returns the least call of each set into which a program divides the calls of the
// native architectures.
func witnesses(t *testing.T, p *bpf.Program) []witness {
	t.Helper()
	w, err := p.Walker()
	if err != nil {
		t.Fatal(err)
	}
	solver := bpf.NewSolver()
	var all []witness
	for _, arch := range []syscalls.Arch{syscalls.AMD64, syscalls.X32} {
		scopes := []func() *bpf.Scope{func() *bpf.Scope { return solver.Unassigned(arch) }}
		for _, name := range syscalls.Calls(arch) {
			if name == "uretprobe" || name == "uprobe" {
				continue // Linux lets them through unfiltered, from 6.14 and 6.18 on; who is not a probe is killed
			}
			number, _ := syscalls.Number(arch, name)
			scopes = append(scopes, func() *bpf.Scope { return solver.Number(arch, number) })
		}
		for _, scope := range scopes {
			err := solver.Ask(func() error {
				for _, o := range w.Verdicts(scope()) {
					all = append(all, witness{o.Calls.Least(), o.Verdict})
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// The kernel gives every witness the walker's verdict. Each verdict is replaced by a different
// errno, so that no call is really made.
func TestWitnessesInKernel(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the calls are amd64's and x32's")
	}
	probe := filepath.Join(t.TempDir(), "probe")
	if out, err := exec.Command("gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", probe, "testdata/probe/probe.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sources := map[string]string{"default": string(profiles.Default())}
	for name, source := range seccomptest.Sources(t) {
		sources[name] = string(source)
	}
	r := rand.New(rand.NewPCG(10, 3))
	for i := range 60 {
		sources[fmt.Sprintf("random %d", i)] = randomSource(r)
	}
	total, conditional := 0, 0
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		_, program := compiled(t, mustParse(t, sources[name]))
		all := witnesses(t, program)
		for i, got := range probed(t, probe, program, all) {
			if got != all[i].verdict {
				t.Errorf("%s: %+v gets %s, is said to get %s", name, all[i].call, got, all[i].verdict)
			}
			if all[i].call.Args != [6]uint64{} {
				conditional++
			}
		}
		total += len(all)
	}
	t.Logf("%d witnesses, %d with arguments", total, conditional)
	if total < 10000 || conditional < 200 {
		t.Errorf("no fair sample: %d witnesses, %d with arguments", total, conditional)
	}
}

// probed runs calls under the program in a child process.
func probed(t *testing.T, probe string, p *bpf.Program, all []witness) []bpf.Verdict {
	t.Helper()
	var verdicts []bpf.Verdict // that of errno i+1
	insns := slices.Clone(p.Instructions)
	for i, insn := range insns {
		if insn.Code != unix.BPF_RET|unix.BPF_K {
			continue
		}
		at := slices.Index(verdicts, bpf.Verdict(insn.K))
		if at < 0 {
			at = len(verdicts)
			verdicts = append(verdicts, bpf.Verdict(insn.K))
		}
		insns[i].K = unix.SECCOMP_RET_ERRNO | uint32(at+1)
	}
	var in bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&in, binary.NativeEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(uint32(len(insns)))
	write(insns)
	write(uint32(len(all)))
	for _, w := range all {
		write(uint64(w.call.Nr))
		write(w.call.Args)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, probe)
	cmd.Stdin = &in
	out, err := cmd.Output()
	if err != nil || len(out) != 4*len(all) {
		t.Fatalf("%v: %d bytes for %d calls", err, len(out), len(all))
	}
	got := make([]bpf.Verdict, len(all))
	for i := range got {
		errno := binary.NativeEndian.Uint32(out[4*i:])
		if errno == 0 || int(errno) > len(verdicts) {
			t.Fatalf("%+v: errno %d is no verdict's", all[i].call, errno)
		}
		got[i] = verdicts[errno-1]
	}
	return got
}
