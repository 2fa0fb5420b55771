package compile

import (
	"path/filepath"
	"testing"

	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/internal/seccomptest"
)

func defaultPolicy(b *testing.B) *seccomp.Policy {
	b.Helper()
	target, err := seccomp.HostTarget(seccomptest.DockerDefaults())
	if err != nil {
		b.Fatal(err)
	}
	policy, err := parsed(b)["default"].Resolve(target)
	if err != nil {
		b.Fatal(err)
	}
	return policy
}

func BenchmarkCompile(b *testing.B) {
	policy := defaultPolicy(b)
	for b.Loop() {
		if _, err := compilePolicy(policy); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompileCached(b *testing.B) {
	policy, dir := defaultPolicy(b), filepath.Join(b.TempDir(), "cache")
	if _, _, err := cachedPolicy(dir, policy); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, hit, err := cachedPolicy(dir, policy); err != nil || !hit {
			b.Fatalf("hit %v, %v", hit, err)
		}
	}
}
