package syscalls

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// libseccomp's own tables are the oracle: where both know a call they agree.
func TestNumbersAgreeWithLibseccomp(t *testing.T) {
	for _, a := range Arches() {
		name := a.String()
		if a == LOONGARCH64 {
			name = "loong64"
		}
		arch, err := libseccomp.GetArchFromString(name)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		compared := 0
		for _, call := range Names() {
			want, err := libseccomp.GetSyscallFromNameByArch(call, arch)
			if err != nil || want < 0 {
				continue
			}
			got, ok := Number(a, call)
			if !ok {
				// The kernel has memfd_secret for s390x only; libseccomp lists it for both.
				if a != S390 || call != "memfd_secret" {
					t.Errorf("%s: %s is %d, and not in the table", a, call, want)
				}
				continue
			}
			compared++
			if got != uint32(want) {
				t.Errorf("%s: %s is %d, want %d", a, call, got, want)
			}
		}
		// loongarch64 came with libseccomp 2.6; the one at hand may be older.
		if compared < 250 && a != LOONGARCH64 {
			t.Errorf("%s: only %d calls were compared", a, compared)
		}
	}
}

func TestHostNumbers(t *testing.T) {
	host, ok := Host()
	if !ok {
		t.Fatal("this machine's architecture has no table")
	}
	for name, want := range map[string]uint32{
		"read": unix.SYS_READ, "execve": unix.SYS_EXECVE, "fchownat": unix.SYS_FCHOWNAT,
		"clone3": unix.SYS_CLONE3, "mseal": unix.SYS_MSEAL, "file_setattr": unix.SYS_FILE_SETATTR,
	} {
		if got, ok := Number(host, name); !ok || got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	if !slices.IsSorted(names[:]) {
		t.Error("names are not sorted")
	}
	for _, a := range Arches() {
		if got, ok := ParseArch(a.OCI()); !ok || got != a {
			t.Errorf("ParseArch(%s) = %s", a.OCI(), got)
		}
		if got, ok := ParseArch(a.String()); !ok || got != a {
			t.Errorf("ParseArch(%s) = %s", a, got)
		}
		byNumber := map[uint32]string{}
		for _, call := range Calls(a) {
			nr, ok := Number(a, call)
			if !ok {
				t.Fatalf("%s: %s has no number", a, call)
			}
			if other, twice := byNumber[nr]; twice {
				t.Errorf("%s: %d is both %s and %s", a, nr, other, call)
			}
			byNumber[nr] = call
			if got, _ := NameOf(a, nr); got != call {
				t.Errorf("%s: %d is %s, want %s", a, nr, got, call)
			}
			if got, ok := FromAudit(a.Audit(), nr); !ok || got != a {
				t.Errorf("FromAudit(%#x, %d) = %s, want %s", a.Audit(), nr, got, a)
			}
		}
	}
}

func TestGroups(t *testing.T) {
	if !slices.IsSorted(Groups()) {
		t.Error("groups are not sorted")
	}
	for _, g := range Groups() {
		calls, ok := Group(g)
		if !ok || len(calls) == 0 || GroupDoc(g) == "" {
			t.Errorf("%s is empty", g)
		}
		if !slices.IsSorted(calls) {
			t.Errorf("%s is not sorted", g)
		}
		for _, c := range calls {
			if !Known(c) {
				t.Errorf("%s: %s is no system call", g, c)
			}
		}
	}
	if _, ok := Group("@nosuch"); ok {
		t.Error("@nosuch is a group")
	}
}

func TestInt32Args(t *testing.T) {
	for name, want := range map[string]uint8{
		"socket":      0b111,
		"personality": 0b1,
		"clone":       0, // unsigned long
		"unshare":     0,
		"setns":       0b11,
		"prctl":       0b1,
		"ptrace":      0,
		"nosuch":      0,
	} {
		if got := Int32Args(name); got != want {
			t.Errorf("%s: %06b, want %06b", name, got, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	for written, want := range map[string]string{
		"fchownt": "fchown", "opennat": "openat", "@chwon": "@chown", "frobnicate": "", "Mount": "mount",
	} {
		if got := Suggest(written); got != want {
			t.Errorf("%s: %q, want %q", written, got, want)
		}
	}
}

// TestConstants: the values are those of golang.org/x/sys/unix, whose files are
// made from the kernel's headers for each architecture.
func TestConstants(t *testing.T) {
	dir := sysPackage(t)
	calls := []string{
		"socket/0", "socket/1", "clone/0", "personality/0", "ptrace/0", "keyctl/0", "prctl/0", "openat/2", "mount/3",
		"mmap2/2", "mmap2/3", "fcntl/1", "ioctl/1", "seccomp/0", "bpf/0", "umount2/1",
	}
	for _, goarch := range []string{"386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv64", "s390x"} {
		arch, ok := ParseArch(goarch)
		if !ok {
			t.Fatalf("there is no %s", goarch)
		}
		want := map[string]uint64{}
		for _, file := range []string{"zerrors_linux.go", "zerrors_linux_" + goarch + ".go"} {
			readConstants(t, filepath.Join(dir, file), want)
		}
		compared := 0
		for _, set := range append(socketOptions[:], optionSet{options: socketLevels[:]}, optionSet{options: ipProtocols[:]}, optionSet{options: netlinkProtocols[:]}) {
			for _, c := range set.options {
				if v, ok := want[c.name]; ok && v != c.on(arch) {
					t.Errorf("%s: %s is %#x, want %#x", goarch, c.name, c.on(arch), v)
				} else if ok {
					compared++
				}
			}
		}
		for _, place := range calls {
			call, number, _ := strings.Cut(place, "/")
			index, _ := strconv.Atoi(number)
			if call == "clone" && arch == S390X {
				index = 1
			}
			for _, name := range Constants(arch, call, index) {
				source := name
				switch {
				case name == "FIONREAD":
					source = "TIOCINQ"
				case name == "F_SETLK" && want[name] > 7: // 32 bits: C's F_SETLK is the kernel's F_SETLK64
					continue
				}
				got, _ := Constant(arch, call, index, name)
				if v, ok := want[source]; ok && v != got {
					t.Errorf("%s: %s is %#x, want %#x", goarch, name, got, v)
				} else if ok {
					compared++
				}
			}
		}
		if compared < 350 {
			t.Errorf("%s: only %d constants were compared", goarch, compared)
		}
	}
}

// sysPackage is the directory of golang.org/x/sys/unix.
func sysPackage(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-f", "{{.Dir}}", "golang.org/x/sys/unix").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func readConstants(t *testing.T, file string, into map[string]uint64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\s+([A-Z][A-Z0-9_]+)\s+=\s+(?:syscall\.Signal\()?(0x[0-9a-f]+)\)?$`)
	for _, m := range line.FindAllStringSubmatch(string(data), -1) {
		if into[m[1]], err = strconv.ParseUint(m[2], 0, 64); err != nil {
			t.Fatal(err)
		}
	}
}
