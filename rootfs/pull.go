package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	answers "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/minirun/minirun/internal/hint"
)

// Pull fetches an image even if the store has it: a name from its registry, with the
// user's credentials (those of docker login, or of DOCKER_CONFIG), a tarball or layout
// from its file. A registry on a loopback address is reached by http.
//
// Every digest is checked: those of the manifest, the configuration and the layers,
// packed and unpacked. Layers that the store has are not fetched. After an error the
// store has the images that it had before, and maybe layers that were whole: the next
// pull does not fetch them again, and the next removal removes them. A connection that
// breaks is resumed. An error is an [*Error].
func (s *Store) Pull(ctx context.Context, ref string, o ResolveOptions) (*ImageInfo, error) {
	r, err := newRequest(ref, o)
	if err != nil {
		return nil, err
	}
	if r.transport == directory || r.transport == hostRoot {
		return nil, &Error{Op: "pull " + r.String(), Err: errors.New("it is used where it is, not pulled"), Cause: CauseInPlace, Name: ref}
	}
	return s.fetch(ctx, r)
}

func (s *Store) pull(ctx context.Context, r request) (*ImageInfo, error) {
	ref, err := r.remote()
	if err != nil {
		return nil, err
	}
	r.Progress.report(Event{Status: "pulling"})
	transport, err := connect(ctx, r, ref.Context())
	if err != nil {
		return nil, s.manifestError(r, err)
	}
	found, err := remote.Get(ref, remote.WithContext(ctx), remote.WithTransport(transport))
	if err != nil {
		return nil, s.manifestError(r, err)
	}
	image, err := chooseRemote(found, r.want)
	if err != nil {
		return nil, s.manifestError(r, err)
	}
	source := &blobs{repository: ref.Context(), client: http.Client{Transport: transport}, pause: s.pause}
	c, err := fromImage(image, source.layer(image))
	if err != nil {
		return nil, s.pullError(r, err)
	}
	c.names, c.index = []string{r.String()}, found.Digest.String()
	info, err := s.addFor(ctx, r, c)
	if err != nil {
		return nil, s.pullError(r, err)
	}
	return info, nil
}

// connect returns a transport for the requests to a repository, with the user's
// credentials. It retries what is likely to work a little later.
func connect(ctx context.Context, r request, repository name.Repository) (http.RoundTripper, error) {
	auth, err := keychain{r}.Resolve(repository)
	if err != nil {
		return nil, err
	}
	base := answers.NewRetry(limitManifests{remote.DefaultTransport},
		answers.WithRetryPredicate(isTemporary),
		answers.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout))
	return answers.NewWithContext(ctx, repository.Registry, auth, answers.NewUserAgent(base, "minirun"),
		[]string{repository.Scope(answers.PullScope)})
}

// isTemporary reports whether a request that failed may succeed if it is made again.
func isTemporary(err error) bool {
	var network interface{ Temporary() bool }
	return errors.As(err, &network) && network.Temporary() ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// remote returns the reference in the type of go-containerregistry.
func (r reference) remote() (name.Reference, error) {
	var options []name.Option
	if isLoopback(r.domain) {
		options = append(options, name.Insecure)
	}
	ref, err := name.ParseReference(r.String(), options...)
	if err != nil {
		return nil, hint.With(&Error{Op: "pull " + r.short(), Err: err}, "the name of a repository is lowercase; that of a registry has a dot or a port, or is localhost")
	}
	return ref, nil
}

// isLoopback reports whether a registry is on this machine: like crane and Docker we
// then use http.
func isLoopback(domain string) bool {
	host := domain
	if h, _, err := net.SplitHostPort(domain); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func chooseRemote(found *remote.Descriptor, want v1.Platform) (v1.Image, error) {
	if err := checkManifest(found.Digest, found.Manifest); err != nil {
		return nil, err
	}
	if err := checkFormat(found); err != nil {
		return nil, err
	}
	if !found.MediaType.IsIndex() {
		return found.Image()
	}
	index, err := found.ImageIndex()
	if err != nil {
		return nil, err
	}
	return choose(index, "", want, 1)
}

// choose returns the image for a platform from an index and the indexes in it; depth
// is 1 for the outermost. With a tag, only entries of that name are considered.
// Entries that are not images, such as the attestations of BuildKit, fit no platform.
func choose(index v1.ImageIndex, tag string, want v1.Platform, depth int) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	entries := m.Manifests
	if tag != "" {
		entries = slices.DeleteFunc(slices.Clone(entries), func(d v1.Descriptor) bool {
			return !namedBy(d, tag)
		})
		if len(entries) == 0 {
			return nil, fmt.Errorf("no image has the name %s", quote(tag))
		}
	}
	if len(entries) == 1 && entries[0].MediaType.IsIndex() {
		if depth == maxIndexDepth {
			return nil, fmt.Errorf("indexes are nested more than %d deep", maxIndexDepth)
		}
		nested, err := index.ImageIndex(entries[0].Digest)
		if err != nil {
			return nil, err
		}
		raw, err := nested.RawManifest()
		if err == nil {
			err = checkManifest(entries[0].Digest, raw)
		}
		if err != nil {
			return nil, err
		}
		return choose(nested, "", want, depth+1)
	}
	d, err := choosePlatform(entries, want)
	if err != nil {
		return nil, err
	}
	image, err := index.Image(d.Digest)
	if err != nil {
		return nil, err
	}
	raw, err := image.RawManifest()
	if err == nil {
		err = checkManifest(d.Digest, raw)
	}
	return image, err
}

// namedBy reports whether an entry has a tag: some tools write the tag alone, others
// the full name.
func namedBy(d v1.Descriptor, tag string) bool {
	for _, key := range []string{annotationName, annotationFullName} {
		name := d.Annotations[key]
		if name == tag || strings.HasSuffix(name, ":"+tag) {
			return true
		}
	}
	return false
}

func choosePlatform(entries []v1.Descriptor, want v1.Platform) (v1.Descriptor, error) {
	var best v1.Descriptor
	most := 0
	var have []string
	for _, d := range entries {
		if !d.MediaType.IsImage() || d.Annotations[annotationKind] == attestation {
			continue
		}
		if d.Platform != nil && d.Platform.OS != "unknown" {
			have = append(have, d.Platform.String())
		}
		if fit := fitOf(d.Platform, want); fit > most {
			best, most = d, fit
		}
	}
	if most == 0 {
		return best, otherPlatform(have, want)
	}
	return best, nil
}

// fromImage returns the content of an image. Layers are read only when needed.
func fromImage(image v1.Image, layer func(v1.Descriptor) openFunc) (*content, error) {
	m, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	c := &content{manifestType: m.MediaType}
	if c.manifestType == "" {
		c.manifestType = types.OCIManifestSchema1
	}
	if err := checkKind(m); err != nil {
		return nil, err
	}
	if c.manifest, err = image.RawManifest(); err != nil {
		return nil, err
	}
	// The library reads so many bytes, or everything if the size is -1.
	switch size := m.Config.Size; {
	case size < 0:
		return nil, fmt.Errorf("the manifest gives the configuration %d bytes", size)
	case size > maxConfig:
		return nil, &limitError{"configuration", maxConfig}
	}
	if c.config, err = image.RawConfigFile(); err != nil {
		return nil, err
	}
	if got := digestOf(c.config); got != m.Config.Digest.String() {
		return nil, hint.With(fmt.Errorf("configuration %s has the digest %s", m.Config.Digest, got), damagedHelp)
	}
	config, err := parseConfig(c.config)
	if err != nil {
		return nil, err
	}
	if len(config.RootFS.DiffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("the manifest has %d layers, the configuration %d", len(m.Layers), len(config.RootFS.DiffIDs))
	}
	for i, d := range m.Layers {
		if !isDigest(d.Digest.String()) {
			return nil, fmt.Errorf("layer %d of the manifest has no SHA-256 digest", i+1)
		}
		c.layers = append(c.layers, layerSource{
			diffID: config.RootFS.DiffIDs[i],
			digest: d.Digest.String(),
			size:   d.Size,
			open:   layer(d),
		})
	}
	return c, nil
}

// openFunc opens the packed stream of a layer.
type openFunc func(context.Context) (io.ReadCloser, error)

// openLayer opens the layers of an image by the library.
func openLayer(image v1.Image) func(v1.Descriptor) openFunc {
	return func(d v1.Descriptor) openFunc {
		return func(context.Context) (io.ReadCloser, error) {
			layer, err := image.LayerByDigest(d.Digest)
			if err != nil {
				return nil, err
			}
			return layer.Compressed()
		}
	}
}

// layer opens the layers of an image of the repository. Those that come from elsewhere
// or are in the manifest are left to the library.
func (b *blobs) layer(image v1.Image) func(v1.Descriptor) openFunc {
	return func(d v1.Descriptor) openFunc {
		if len(d.URLs) > 0 || d.Data != nil {
			return openLayer(image)(d)
		}
		return func(ctx context.Context) (io.ReadCloser, error) { return b.open(ctx, d.Digest.String(), d.Size) }
	}
}
