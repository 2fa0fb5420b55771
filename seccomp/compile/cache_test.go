package compile

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/syscalls"
)

// smallPolicy compiles fast, to a file of some hundred bytes.
func smallPolicy(t testing.TB) *seccomp.Policy {
	t.Helper()
	return policyOf(t, `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}]}`)
}

func policyOf(t testing.TB, source string) *seccomp.Policy {
	t.Helper()
	p, err := seccomp.Parse("p.json", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := p.Resolve(seccomp.Target{Capabilities: nil, Arch: syscalls.AMD64, Kernel: seccomp.Kernel{Major: 6, Minor: 18}})
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// cached is a policy, its program, and the file that keeps it.
type cached struct {
	policy  *seccomp.Policy
	program *bpf.Program
	dir     string
	file    string
}

func newCached(t *testing.T) *cached {
	t.Helper()
	c := &cached{policy: smallPolicy(t), dir: filepath.Join(t.TempDir(), "cache")}
	var err error
	if c.program, err = compilePolicy(c.policy); err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(c.policy)
	if err != nil {
		t.Fatal(err)
	}
	c.file = filepath.Join(c.dir, hex.EncodeToString(key))
	c.expect(t, false)
	c.expect(t, true)
	return c
}

// expect asks for the program: it must be the true one, from the cache or not.
func (c *cached) expect(t *testing.T, wantHit bool) {
	t.Helper()
	program, hit, err := cachedPolicy(c.dir, c.policy)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.program, program); diff != "" {
		t.Fatalf("another program (-compiled +cached):\n%s", diff)
	}
	if hit != wantHit {
		t.Fatalf("from the cache: %v, want %v", hit, wantHit)
	}
}

func (c *cached) read(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (c *cached) write(t *testing.T, data []byte) {
	t.Helper()
	if err := os.WriteFile(c.file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// evil is a whole file, with the right key and digest, of a program that allows all.
func (c *cached) evil(t *testing.T) []byte {
	t.Helper()
	key, err := keyOf(c.policy)
	if err != nil {
		t.Fatal(err)
	}
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	return marshalProgram(&bpf.Program{Arch: syscalls.AMD64, Instructions: []unix.SockFilter{allow}}, key)
}

func TestCacheKeeps(t *testing.T) {
	c := newCached(t)
	for path, mode := range map[string]os.FileMode{c.dir: 0o700 | os.ModeDir, c.file: 0o600} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	// A listener and flags come back too.
	policy := policyOf(t, `{"defaultAction": "SCMP_ACT_NOTIFY", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}`)
	want, err := compilePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	for _, wantHit := range []bool{false, true} {
		got, hit, err := cachedPolicy(c.dir, policy)
		if err != nil || hit != wantHit || !cmp.Equal(got, want) || !got.Listener || got.Flags == 0 {
			t.Errorf("%+v, hit %v, %v; want %+v", got, hit, err, want)
		}
	}
}

func TestCacheDamaged(t *testing.T) {
	c := newCached(t)
	whole := c.read(t)
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x10
		c.write(t, damaged)
		c.expect(t, false)
	}
	for _, n := range []int{0, 1, 16, 31, 32, 33, len(whole) / 2, len(whole) - 8, len(whole) - 1} {
		c.write(t, whole[:n])
		c.expect(t, false)
	}
	c.write(t, append(slices.Clone(whole), 0))
	c.expect(t, false)
	c.write(t, bytes.Repeat(whole, 1000))
	c.expect(t, false)
	c.expect(t, true)
}

// Files whose digest is right and whose content is not this policy's program.
func TestCacheStale(t *testing.T) {
	c := newCached(t)
	key, err := keyOf(c.policy)
	if err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(key)
	other[0]++
	whole := marshalProgram(c.program, key)
	longer := append(whole[:len(whole)-sha256.Size:len(whole)-sha256.Size], 0)
	sum := sha256.Sum256(longer)
	for name, data := range map[string][]byte{
		"another key":     marshalProgram(c.program, other),
		"trailing bytes":  append(longer, sum[:]...),
		"no instructions": marshalProgram(&bpf.Program{Arch: syscalls.AMD64}, key),
		"too many":        marshalProgram(&bpf.Program{Arch: syscalls.AMD64, Instructions: make([]unix.SockFilter, unix.BPF_MAXINSNS+1)}, key),
	} {
		t.Run(name, func(t *testing.T) {
			c.write(t, data)
			c.expect(t, false)
			c.expect(t, true)
		})
	}
}

// Whoever can write a file there could decide what a container may do.
func TestCacheUntrusted(t *testing.T) {
	const otherUser = 4242
	for name, plant := range map[string]func(t *testing.T, c *cached) error{
		"foreign file":        func(t *testing.T, c *cached) error { return os.Chown(c.file, otherUser, otherUser) },
		"group-writable file": func(t *testing.T, c *cached) error { return os.Chmod(c.file, 0o620) },
		"world-writable file": func(t *testing.T, c *cached) error { return os.Chmod(c.file, 0o602) },
		"symlink": func(t *testing.T, c *cached) error {
			elsewhere := filepath.Join(t.TempDir(), "evil")
			return errors.Join(os.Rename(c.file, elsewhere), os.Symlink(elsewhere, c.file))
		},
		"fifo": func(t *testing.T, c *cached) error { return errors.Join(os.Remove(c.file), unix.Mkfifo(c.file, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "foreign") {
				testenv.Root(t)
			}
			c := newCached(t)
			c.write(t, c.evil(t))
			if err := plant(t, c); err != nil {
				t.Fatal(err)
			}
			c.expect(t, false)
			c.expect(t, true) // what was there is replaced
		})
	}
	for name, plant := range map[string]func(c *cached) error{
		"foreign directory":        func(c *cached) error { return os.Chown(c.dir, otherUser, otherUser) },
		"group-writable directory": func(c *cached) error { return os.Chmod(c.dir, 0o720) },
		"world-writable directory": func(c *cached) error { return os.Chmod(c.dir, 0o1777) },
		"symlinked directory": func(c *cached) error {
			return errors.Join(os.Rename(c.dir, c.dir+"-moved"), os.Symlink(c.dir+"-moved", c.dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "foreign") {
				testenv.Root(t)
			}
			c := newCached(t)
			c.write(t, c.evil(t))
			if err := plant(c); err != nil {
				t.Fatal(err)
			}
			c.expect(t, false)
			c.expect(t, false) // nothing there is ever trusted
		})
	}
}

// A cache that cannot be written is no reason not to start.
func TestCacheUnwritable(t *testing.T) {
	c := newCached(t)
	if err := errors.Join(os.Remove(c.file), os.Mkdir(c.file, 0o700)); err != nil {
		t.Fatal(err)
	}
	c.expect(t, false)
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	c.dir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(c.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.expect(t, false)
}

// All that a program depends on has a part in the key.
func TestCacheKey(t *testing.T) {
	const base = `{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}`
	seen := map[string]string{}
	add := func(what string, p *seccomp.Policy) {
		t.Helper()
		key, err := keyOf(p)
		if err != nil {
			t.Fatal(err)
		}
		if old, there := seen[string(key)]; there {
			t.Errorf("%s has the key of %s", what, old)
		}
		seen[string(key)] = what
	}
	add("base", policyOf(t, base))
	for _, change := range [][2]string{
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_KILL"`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "defaultErrnoRet": 1`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "defaultErrnoRet": 2`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "flags": []`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_LOG"]`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"]`},
		{`"SCMP_ACT_ERRNO"`, `"SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]`},
		{`"SCMP_ACT_ALLOW"`, `"SCMP_ACT_LOG"`},
		{`"SCMP_ACT_ALLOW"`, `"SCMP_ACT_ALLOW", "errnoRet": 1`},
		{`"read", "write"`, `"write", "read"`},
		{`"read", "write"`, `"readwrite"`},
		{`"read", "write"`, `"read"`},
		{`"index": 0`, `"index": 1`},
		{`"value": 1`, `"value": 2`},
		{`"value": 1`, `"value": 1, "valueTwo": 1`},
		{`"SCMP_CMP_EQ"`, `"SCMP_CMP_NE"`},
		{`"args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]`, `"args": []`},
	} {
		add(change[1], policyOf(t, strings.Replace(base, change[0], change[1], 1)))
	}
	p := policyOf(t, base)
	p.Target.Arch = syscalls.ARM64
	add("another architecture", p)
}

func TestCachePrune(t *testing.T) {
	c := newCached(t)
	for i := range cacheSize {
		old := filepath.Join(c.dir, fmt.Sprintf("%064d", i))
		if err := os.WriteFile(old, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		stamp := unix.Timespec{Sec: int64(i)}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, old, []unix.Timespec{stamp, stamp}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := cachedPolicy(c.dir, policyOf(t, `{"defaultAction": "SCMP_ACT_TRAP"}`)); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) > cacheSize {
		t.Errorf("%d files are left, %v", len(entries), err)
	}
	if _, err := os.Stat(filepath.Join(c.dir, fmt.Sprintf("%064d", 0))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the oldest is still there: %v", err)
	}
	c.expect(t, true) // the newest are
}
