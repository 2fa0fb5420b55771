package compile

import (
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cacheWriter is set in processes that TestCacheConcurrent starts of this binary.
const cacheWriter = "MINIRUN_TEST_CACHE"

// Writers of several processes and goroutines take each other's files away and
// put them back; whoever reads finds a whole file or none.
func TestCacheConcurrent(t *testing.T) {
	dir := os.Getenv(cacheWriter)
	if dir != "" {
		hammer(t, dir)
		return
	}
	dir = filepath.Join(t.TempDir(), "cache")
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			writer := exec.Command(os.Args[0], "-test.run=^TestCacheConcurrent$")
			writer.Env = append(os.Environ(), cacheWriter+"="+dir)
			if out, err := writer.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	hammer(t, dir)
	group.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".new-") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}

func hammer(t *testing.T, dir string) {
	policy := smallPolicy(t)
	want, err := compilePolicy(policy)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyOf(policy)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, hex.EncodeToString(key))
	var group sync.WaitGroup
	for writer := range 4 {
		group.Go(func() {
			for round := range 50 {
				if data, err := os.ReadFile(file); err == nil {
					if _, err := unmarshalProgram(data, key); err != nil {
						t.Errorf("a file of %d bytes: %v", len(data), err)
					}
				} else if !errors.Is(err, os.ErrNotExist) {
					t.Error(err)
				}
				if got, _, err := cachedPolicy(dir, policy); err != nil || !cmp.Equal(got, want) {
					t.Errorf("another program: %v", err)
				}
				if (round+writer)%5 == 0 {
					_ = os.Remove(file) // so that there is something to write; another may have been first
				}
			}
		})
	}
	group.Wait()
}
