package rootfs

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"os"
	"strings"
)

// reuse adds a name to an image that was made from the same tarball of a root file system
// before, whatever the name and the times of that file were: it compares digests. It
// returns nil if the store has no such image, or the image has changed.
func (s *Store) reuse(ctx context.Context, r request, stamp string) (*ImageInfo, error) {
	x, err := s.readIndex()
	if err != nil || !x.mayHaveFile(stamp) {
		return nil, err
	}
	digest, err := fileDigest(ctx, r.path)
	if err != nil {
		return nil, err
	}
	unlock, err := s.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if x, err = s.readIndex(); err != nil {
		return nil, err
	}
	for _, d := range x.Manifests {
		if d.Annotations[annotationFile] != digest || fitOf(d.Platform, r.want) == 0 || !s.isWhole(&d) {
			continue
		}
		d.Annotations = maps.Clone(d.Annotations)
		d.Annotations[annotationName], d.Annotations[annotationSource] = r.String(), stamp
		x.put(d)
		if err := s.writeIndex(x); err != nil {
			return nil, err
		}
		_ = s.collect(x) // what only the replaced entry needed; a later removal tries again
		return s.info(&d)
	}
	return nil, nil
}

// mayHaveFile reports whether something was unpacked from a tarball of this size.
func (x *index) mayHaveFile(stamp string) bool {
	for _, d := range x.Manifests {
		if d.Annotations[annotationFile] != "" && stampSize(d.Annotations[annotationSource]) == stampSize(stamp) {
			return true
		}
	}
	return false
}

// stampSize returns the size of a file from its stamp.
func stampSize(stamp string) string {
	fields := strings.Split(stamp, ":")
	if len(fields) < 3 {
		return ""
	}
	return fields[2]
}

// isWhole reports whether no part of an image is missing or has changed.
func (s *Store) isWhole(d *descriptor) bool {
	_, config, err := s.readManifest(d.Digest.String())
	if err != nil {
		return false
	}
	for _, diffID := range config.RootFS.DiffIDs {
		if !s.isIntact(diffID) {
			return false
		}
	}
	return true
}

func fileDigest(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return copyHashed(ctx, io.Discard, f)
}

// copyHashed copies r to w until ctx is done, and returns the digest of what it has copied.
func copyHashed(ctx context.Context, w io.Writer, r io.Reader) (digest string, err error) {
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(w, h), &cancelReader{ctx, r})
	return sum(h), err
}
