package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// maxAtOnce is how many layers of an image are fetched and unpacked at the same time. It
// bounds the memory that they take and the load of the registry.
const maxAtOnce = 4

// layer is a layer of the image that is being added.
type layer struct {
	diffID string
	size   int64  // bytes of the tar
	dir    string // in the work directory; "" if the store has it already
}

// unpackLayers makes sure that all layers are in the store or in the work directory. A
// layer that another process is fetching is not fetched too. Instead the layers that are
// complete so far move to the store, so that no other process has to wait for them, and
// then that layer is waited for.
func (a *addition) unpackLayers(ctx context.Context) error {
	sources := a.content.layers
	a.layers = make([]layer, len(sources))
	first := map[string]int{} // by diffID
	var todo []int
	for i, l := range sources {
		if _, again := first[l.diffID]; again && l.diffID != "" {
			continue
		}
		first[l.diffID] = i
		todo = append(todo, i)
	}
	var err error
	for len(todo) > 0 && err == nil {
		todo, err = a.unpackFree(ctx, todo)
		if len(todo) > 0 && err == nil {
			err = a.await(ctx, todo[0])
		}
	}
	for i, l := range sources {
		if l.diffID != "" {
			a.layers[i] = a.layers[first[l.diffID]]
		}
	}
	return err
}

// unpackFree is unpackLayers for the layers todo, except for those that another process is
// fetching. It returns these.
func (a *addition) unpackFree(ctx context.Context, todo []int) (busy []int, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxAtOnce)
	for _, i := range todo {
		group.Go(func() error {
			err := a.layer(ctx, i)
			if !errors.Is(err, errClaimed) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			busy = append(busy, i)
			return nil
		})
	}
	err = group.Wait()
	slices.Sort(busy)
	return busy, err
}

// layer makes sure that layer i is in the store or in the work directory. It returns
// [errClaimed] if another process is fetching it.
func (a *addition) layer(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l := a.content.layers[i]
	if there, err := a.existing(ctx, i); there || err != nil {
		return err
	}
	if l.diffID != "" {
		if err := a.claim(ctx, l.diffID); err != nil {
			return err
		}
		if there, err := a.existing(ctx, i); there || err != nil { // another process has just added it
			return err
		}
	}
	dir := a.work.join(strconv.Itoa(i))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	got, err := a.unpack(ctx, i, dir)
	if err == nil {
		err = noteLayer(dir, got.size)
	}
	if err != nil {
		return fmt.Errorf("unpack layer %s: %w", l.label(i), err)
	}
	a.layers[i] = layer{got.diffID, got.size, dir}
	return nil
}

// existing reports whether the store has layer i, and takes it from there.
func (a *addition) existing(ctx context.Context, i int) (bool, error) {
	l := a.content.layers[i]
	if l.diffID == "" || !a.lockExisting(l.diffID) {
		return false, nil
	}
	a.dropClaim(l.diffID)
	if err := a.keepExisting(ctx, l); err != nil {
		return false, fmt.Errorf("keep layer %s: %w", l.label(i), err)
	}
	size, _ := layerNote(a.store.layer(l.diffID))
	a.layers[i] = layer{diffID: l.diffID, size: size}
	a.progress.report(Event{Layer: l.label(i), Status: "exists", Done: l.size, Total: l.size})
	return true, nil
}

// status returns the [Event] status of a layer that is being read: only those of a registry
// are pulled.
func (a *addition) status() string {
	if a.content.local || a.content.stamp != "" {
		return "unpacking"
	}
	return "pulling"
}

func (l *layerSource) label(i int) string {
	switch {
	case l.digest != "":
		return l.digest
	case l.diffID != "":
		return l.diffID
	}
	return strconv.Itoa(i + 1)
}

// lockExisting keeps a layer of the store from being removed until the image is
// added. It returns false for a layer that is missing or damaged.
func (a *addition) lockExisting(diffID string) bool {
	f, err := lockShared(a.store.layer(diffID))
	if err != nil {
		return false
	}
	if !a.store.isIntact(diffID) {
		_ = f.Close()
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.locks = append(a.locks, f)
	return true
}

func (a *addition) unpack(ctx context.Context, i int, dir string) (unpacked, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the goroutine that may still read the stream
	l := a.content.layers[i]
	stream, err := l.open(ctx)
	if err == nil {
		stream, err = a.keepStream(l, stream)
	}
	if err != nil {
		return unpacked{}, err
	}
	defer stream.Close()
	reader := &progressReader{Reader: stream, progress: a.progress, event: Event{Layer: l.label(i), Status: a.status(), Total: l.size}}
	a.progress.report(reader.event)
	got, err := unpackLayer(ctx, reader, dir, a.space)
	if err != nil {
		return unpacked{}, err
	}
	if err := a.check(l, got); err != nil {
		return unpacked{}, err
	}
	read := reader.event.Done
	a.progress.report(Event{Layer: l.label(i), Status: "done", Done: read, Total: read})
	return got, nil
}

func (a *addition) check(l layerSource, got unpacked) error {
	switch {
	case l.ended && got.noEnd:
		return errTruncated
	case l.digest != "" && got.digest != l.digest:
		return fmt.Errorf("its digest is %s", got.digest)
	case l.diffID != "" && got.diffID != l.diffID:
		return fmt.Errorf("the configuration says %s, but the digest of the tar is %s", l.diffID, got.diffID)
	}
	for _, attribute := range got.unsupported {
		a.warn("layer %s: the extended attribute %s is not supported here and left out", got.diffID, quote(attribute))
	}
	if l.whole { // it is the only one
		a.content.file = got.digest
		if got.noEnd {
			a.warn("%s may be truncated: it has no end-of-archive blocks", a.content.names[0])
		}
	}
	return nil
}

// warn may be called by several goroutines at a time.
func (a *addition) warn(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.content.warn != nil {
		a.content.warn(format, args...)
	}
}

// takeLayers moves the layers of the work directory, which the caller has synced, into
// their places.
func (a *addition) takeLayers() error {
	for i, l := range a.layers {
		if l.dir == "" {
			continue
		}
		if err := a.takeLayer(l.diffID, l.dir); err != nil {
			return err
		}
		for j := i; j < len(a.layers); j++ { // the others of the same content
			if a.layers[j].diffID == l.diffID {
				a.layers[j].dir = ""
			}
		}
	}
	return nil
}

// publish moves the layers that are complete into their places, and keeps them from being
// removed until the image is added.
func (a *addition) publish() error {
	if !slices.ContainsFunc(a.layers, func(l layer) bool { return l.dir != "" }) {
		return nil
	}
	if err := syncFileSystem(a.work.path); err != nil {
		return err
	}
	unlock, err := a.store.lock()
	if err != nil {
		return err
	}
	defer unlock()
	whole := slices.Clone(a.layers)
	if err := a.takeLayers(); err != nil {
		return err
	}
	for _, l := range whole {
		if l.dir == "" {
			continue
		}
		f, err := lockShared(a.store.layer(l.diffID))
		if err != nil {
			return err
		}
		a.locks = append(a.locks, f)
	}
	return nil
}

// keepLayers publishes the layers of an image that cannot be added, so that the next pull
// does not fetch them again. The next removal of an image removes them. It keeps nothing of
// an image that is too large, or if the disk is full.
func (a *addition) keepLayers(failed error) {
	var known *Error
	if !isFull(failed) && (!errors.As(failed, &known) || known.Cause != CauseTooLarge) {
		_ = a.publish() // what is not moved is fetched again
	}
}

// takeLayer renames an unpacked layer into its place, unless another process has
// done so already. A damaged layer in that place is moved to the work directory and
// removed with it; containers that run on it keep their mounts of it.
func (a *addition) takeLayer(diffID, dir string) error {
	target := a.store.layer(diffID)
	if _, err := os.Stat(target); err == nil {
		if a.store.isIntact(diffID) {
			return nil
		}
		if err := os.Rename(target, dir+".damaged"); err != nil {
			return err
		}
	}
	if err := os.Rename(dir+recordSuffix, target+recordSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(dir+sizeSuffix, target+sizeSuffix); err != nil {
		return err
	}
	return os.Rename(dir, target)
}

func syncFileSystem(path string) error {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	return nil
}

const progressStep = 512 << 10 // bytes between two events

// progressReader reports how much of a layer has been read.
type progressReader struct {
	io.Reader
	progress Progress
	event    Event
	reported int64
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.event.Done += int64(n)
	if r.event.Done-r.reported >= progressStep {
		r.reported = r.event.Done
		r.progress.report(r.event)
	}
	return n, err
}
