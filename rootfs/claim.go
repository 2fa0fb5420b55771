package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// claimLayer returns a lock by which one process fetches a layer and others wait for it
// instead of fetching it too. Without wait it returns [unix.EWOULDBLOCK] if another
// process has the lock. It ends with [dropClaim], or with the process.
//
// The lock is on a file of its own, not on the layer, which does not exist yet. The
// sweep removes the file of a process that has died.
func (s *Store) claimLayer(ctx context.Context, diffID string, wait bool) (*os.File, error) {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	path := s.path("tmp", "claim-"+digestHex(diffID))
	for {
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockUntil(ctx, f, how); err != nil {
			return nil, err
		}
		opened, err := f.Stat()
		if err == nil {
			var there os.FileInfo
			if there, err = os.Stat(path); err == nil && os.SameFile(opened, there) {
				return f, nil
			}
		}
		_ = f.Close()
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		// Whoever had the lock has removed the file.
	}
}

// lockUntil locks a file, which it closes after an error. Once the context is done it
// returns: the kernel may still wait for the lock then, and gives it up at once.
func lockUntil(ctx context.Context, f *os.File, how int) error {
	done := make(chan error, 1)
	go func() { done <- flock.Lock(f, how) }()
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
		}
		return err
	case <-ctx.Done():
		go func() { _ = errors.Join(<-done, f.Close()) }()
		return ctx.Err()
	}
}

// dropClaim ends a claim.
func dropClaim(f *os.File) {
	_ = os.Remove(f.Name()) // before the lock ends: the next process makes a file of its own
	_ = f.Close()
}

// await waits until no other process is fetching layer i. No claim is held meanwhile:
// two processes that wait for each other would wait for ever.
func (a *addition) await(ctx context.Context, i int) error {
	if err := a.publish(); err != nil {
		return err
	}
	a.dropClaims()
	l := a.content.layers[i]
	a.progress.report(Event{Layer: l.label(i), Status: "waiting", Total: l.size})
	f, err := a.store.claimLayer(ctx, l.diffID, true)
	if err != nil {
		return fmt.Errorf("wait for layer %s: %w", l.label(i), err)
	}
	a.claims = map[string]*os.File{l.diffID: f}
	return nil
}

// errClaimed reports a layer that another process is fetching.
var errClaimed = errors.New("another process is fetching the layer")

// claim keeps other processes from fetching a layer, until dropClaims. It returns
// [errClaimed] if one of them is fetching it.
func (a *addition) claim(ctx context.Context, diffID string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.claims[diffID] != nil {
		return nil
	}
	f, err := a.store.claimLayer(ctx, diffID, false)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return errClaimed
	case err != nil:
		return err
	}
	if a.claims == nil {
		a.claims = map[string]*os.File{}
	}
	a.claims[diffID] = f
	return nil
}

func (a *addition) dropClaim(diffID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.claims[diffID]; f != nil {
		dropClaim(f)
		delete(a.claims, diffID)
	}
}

func (a *addition) dropClaims() {
	for diffID := range a.claims {
		a.dropClaim(diffID)
	}
}
