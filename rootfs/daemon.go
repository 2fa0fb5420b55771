package rootfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// dockersSocket is where Docker's client looks for the daemon.
const dockersSocket = "unix:///var/run/docker.sock"

// daemon is a running dockerd (or another program with its API), at DOCKER_HOST.
type daemon struct {
	http.Client
	host string // as DOCKER_HOST has it
}

// newDaemon returns the daemon that DOCKER_HOST names. It does not connect.
func newDaemon() (*daemon, error) {
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = dockersSocket
	}
	network, address, _ := strings.Cut(host, "://")
	tls := os.Getenv("DOCKER_TLS_VERIFY") != "" || os.Getenv("DOCKER_TLS") != ""
	if network != "unix" && network != "tcp" || address == "" || network == "tcp" && tls {
		return nil, hint.With(fmt.Errorf("DOCKER_HOST is %s: only unix:// and tcp:// without TLS are supported", quote(host)),
			"'docker save' writes a tarball that minirun reads")
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	return &daemon{http.Client{Transport: &http.Transport{DialContext: dial}}, host}, nil
}

// get requests a path of the API (Docker Engine API, without a version: any will do).
func (d *daemon) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := d.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // without the URL, which is not a real one
		}
		return nil, hint.With(fmt.Errorf("the Docker daemon at %s cannot be reached: %w", d.host, err), "start it, or set DOCKER_HOST")
	}
	if answer.StatusCode == http.StatusOK {
		return answer.Body, nil
	}
	defer answer.Body.Close()
	var said struct{ Message string }
	text, _ := readLimited(answer.Body, "answer", maxManifest)
	_ = json.Unmarshal(text, &said) // whatever else it says is not for users
	if answer.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w in the Docker daemon at %s", ErrNotFound, d.host)
	}
	return nil, fmt.Errorf("the Docker daemon answers: %s %s", answer.Status, cut(said.Message, maxAnswer))
}

// imageID returns the ID of the daemon's image of that name: the digest of its
// configuration, or of its manifest if containerd keeps the daemon's images.
func (d *daemon) imageID(ctx context.Context, name string) (string, error) {
	body, err := d.get(ctx, "/images/"+name+"/json")
	if err != nil {
		return "", err
	}
	defer body.Close()
	var image struct{ ID string }
	data, err := readLimited(body, "answer", maxManifest)
	if err == nil {
		err = json.Unmarshal(data, &image)
	}
	if err == nil && !isDigest(image.ID) {
		err = errors.New("its ID is " + quote(image.ID))
	}
	if err != nil {
		return "", fmt.Errorf("the Docker daemon's answer: %w", err)
	}
	return image.ID, nil
}

// save writes the image with an ID to a file, as `docker save` does.
func (d *daemon) save(ctx context.Context, id, file string) error {
	body, err := d.get(ctx, "/images/"+id+"/get")
	if err != nil {
		return err
	}
	defer body.Close()
	return spool(ctx, body, file)
}

// fromDaemon saves the daemon's image with this ID to a file, and returns its content.
func fromDaemon(ctx context.Context, id, file string) (*content, error) {
	d, err := newDaemon()
	if err != nil {
		return nil, err
	}
	if err := d.save(ctx, id, file); err != nil {
		return nil, err
	}
	return fromDockerArchive(file, "")
}

// parseDaemonName parses NAME[:TAG], NAME@DIGEST or an image's ID. Its path is what the
// API takes.
func parseDaemonName(text string) (reference, error) {
	r, err := parseName(text)
	if err != nil {
		return reference{}, err
	}
	if r.id != "" { // it may be the first digits of an ID
		return reference{transport: dockerDaemon, path: text}, nil
	}
	return reference{transport: dockerDaemon, path: r.String()}, nil
}
