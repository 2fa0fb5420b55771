package rootfs

import (
	"context"
	"io"
	"strings"
	"time"
)

// ImportOptions are the choices of Import.
type ImportOptions struct {
	File     string   // what errors call the stream
	Name     string   // NAME[:TAG]; "" is none
	Changes  []string // instructions of a Dockerfile
	Message  string   // comment in the image's history
	Platform string   // OS/ARCHITECTURE[/VARIANT]; "" is this machine
	Progress Progress
	Limits   Limits
	Warn     func(text string) // called with warnings, each one line; may be nil
}

// Import makes an image with one layer of a root file system, a tarball that may be
// compressed. It accepts the instructions of a Dockerfile that `docker import` accepts,
// except HEALTHCHECK. An image without a name is stored under its ID.
//
// A tarball without its end-of-archive blocks is an error, since nothing else would show
// that it is truncated.
func (s *Store) Import(ctx context.Context, stream io.Reader, o ImportOptions) (*ImageInfo, error) {
	return s.importAt(ctx, stream, o, time.Now().UTC())
}

func (s *Store) importAt(ctx context.Context, stream io.Reader, o ImportOptions, now time.Time) (*ImageInfo, error) {
	fail := func(err error) (*ImageInfo, error) { return nil, &Error{Op: "import", Err: err} }
	want, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	var names []string
	if o.Name != "" {
		r, err := newName(o.Name)
		if err != nil {
			return fail(err)
		}
		names = []string{r.String()}
	}
	made := &describedFile{
		Created: now.Format(time.RFC3339Nano), Architecture: want.Architecture, Variant: want.Variant, OS: want.OS,
		Comment: o.Message, History: []historyEntry{{Created: &now, Comment: o.Message}},
	}
	for _, change := range o.Changes {
		if err := made.Config.apply(change); err != nil {
			return fail(err)
		}
	}
	info, err := s.add(ctx, &content{
		names: names, local: true, made: made, limits: o.Limits, warn: ResolveOptions{Warn: o.Warn}.warn,
		base: configFile{Architecture: want.Architecture, OS: want.OS, Variant: want.Variant},
		layers: []layerSource{{ended: true, open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(stream), nil
		}}},
	}, o.Progress)
	if err != nil {
		return nil, &Error{Op: strings.TrimSpace("import " + o.File), Err: err}
	}
	return info, nil
}
