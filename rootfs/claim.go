package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/flock"
)

// claimLayer returns a lock on the right to fetch a layer. Other processes wait for the
// lock instead of fetching the layer too. Without wait the error is [unix.EWOULDBLOCK] if
// another process has the lock. The lock ends with [dropClaim], or with the process.
//
// The lock is on a file of its own, not on the layer, which does not exist yet. The
// sweep removes the file of a process that has died.
func (s *Store) claimLayer(ctx context.Context, diffID string, wait bool) (*os.File, error) {
	path := s.path("tmp", "claim-"+digestHex(diffID))
	for {
		f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if wait {
			err = waitForClaim(ctx, f)
		} else if err = flock.Lock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = f.Close()
		}
		if err != nil {
			return nil, err
		}
		if isInPlace(f) {
			return f, nil
		}
		_ = f.Close() // whoever had the lock has removed the file
	}
}

// waitForClaim locks a file, and closes it after an error. It returns as soon as ctx is
// done. If flock(2) still waits then, the lock is released as soon as it is taken.
func waitForClaim(ctx context.Context, f *os.File) error {
	done := make(chan error, 1)
	go func() { done <- flock.Lock(f, unix.LOCK_EX) }()
	select {
	case err := <-done:
		if err != nil {
			_ = f.Close()
		}
		return err
	case <-ctx.Done():
		go func() {
			if err := <-done; err == nil && isInPlace(f) {
				dropClaim(f)
				return
			}
			_ = f.Close()
		}()
		return ctx.Err()
	}
}

// isInPlace reports whether an open file still has its name.
func isInPlace(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.Name())
	return err == nil && os.SameFile(opened, there)
}

// dropClaim ends a claim.
func dropClaim(f *os.File) {
	_ = os.Remove(f.Name()) // before the lock ends: the next process makes a file of its own
	_ = f.Close()
}

// await waits until no other process is fetching layer i. It holds no claim meanwhile, or
// two processes might wait for each other for ever.
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
	err := a.tryClaim(ctx, diffID)
	if !errors.Is(err, errClaimed) {
		return err
	}
	unlock, err := a.store.lock() // a sweep locks the files of claims too, for a moment, and holds this meanwhile
	if err != nil {
		return err
	}
	defer unlock()
	return a.tryClaim(ctx, diffID)
}

func (a *addition) tryClaim(ctx context.Context, diffID string) error {
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
