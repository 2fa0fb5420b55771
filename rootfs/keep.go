package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// keepStream returns a stream that also writes what is read to a file in the work
// directory, if the packed layer is to be kept. A packed layer without a known digest is
// not kept.
func (a *addition) keepStream(l layerSource, stream io.ReadCloser) (io.ReadCloser, error) {
	if !a.content.keep || l.digest == "" {
		return stream, nil
	}
	f, err := os.OpenFile(a.packed(l.digest), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	guarded := &spaceGuard{Reader: stream, dir: a.work.path}
	return &keptStream{io.TeeReader(guarded, f), stream, f}, nil
}

type keptStream struct {
	io.Reader
	stream, file io.Closer
}

func (k *keptStream) Close() error { return errors.Join(k.stream.Close(), k.file.Close()) }

// packed returns the path of a packed layer in the work directory.
func (a *addition) packed(digest string) string {
	return a.work.join("packed-" + digestHex(digest))
}

// keepExisting fetches a packed layer that is to be kept, although the store has the
// unpacked one.
func (a *addition) keepExisting(ctx context.Context, l layerSource) error {
	if !a.content.keep || l.digest == "" {
		return nil
	}
	if info, err := os.Stat(a.store.blob(l.digest)); err == nil && info.Size() == l.size {
		return nil
	}
	stream, err := l.open(ctx)
	if err == nil {
		stream, err = a.keepStream(l, stream)
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	got, err := copyHashed(ctx, io.Discard, stream)
	if err == nil && got != l.digest {
		err = fmt.Errorf("its digest is %s", got)
	}
	return err
}

// takePacked moves the packed layers that are kept into the store.
func (a *addition) takePacked() error {
	if !a.content.keep {
		return nil
	}
	for _, l := range a.content.layers {
		if l.digest == "" {
			continue
		}
		err := os.Rename(a.packed(l.digest), a.store.blob(l.digest))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the store has it already, or the image has it twice
			return err
		}
	}
	return nil
}
