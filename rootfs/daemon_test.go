package rootfs

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minirun/minirun/internal/hint"
)

// fakeDaemon answers as a dockerd would, on a socket that DOCKER_HOST names.
func fakeDaemon(t *testing.T, answer http.HandlerFunc) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: answer}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	t.Setenv("DOCKER_HOST", "unix://"+path)
	t.Setenv("DOCKER_TLS_VERIFY", "")
}

// An image of a daemon is copied once, and again when its name means another image.
func TestDaemon(t *testing.T) {
	current, copies := "one", 0
	archive := map[string][]byte{}
	ids := map[string]string{}
	for _, name := range []string{"one", "two"} {
		layer := makeTar(t, file(name, ""))
		config := configWith(t, digestOf(layer))
		archive[name], ids[name] = oldArchiveOf(t, layer, config), digestOf([]byte(config))
	}
	fakeDaemon(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/images/docker.io/library/app:latest/json", "/images/abc/json":
			_, _ = w.Write([]byte(`{"Id":"` + ids[current] + `","Size":7}`))
		case "/images/" + ids[current] + "/get":
			copies++
			_, _ = w.Write(archive[current])
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"No such image"}`))
		}
	})
	s := newStore(t)
	for _, step := range []struct {
		ref, want string
		copies    int
	}{{"app", "one", 1}, {"app:latest", "one", 1}, {"abc", "one", 2}} {
		if got := filesOf(t, resolve(t, s, "docker-daemon:"+step.ref)); got != step.want || copies != step.copies {
			t.Errorf("%s: %q after %d copies", step.ref, got, copies)
		}
	}
	current = "two"
	if got := filesOf(t, resolve(t, s, "docker-daemon:app")); got != "two" || copies != 3 {
		t.Errorf("%q after %d copies", got, copies)
	}
	if _, err := s.Resolve(context.Background(), "docker-daemon:nosuch", ResolveOptions{}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

func oldArchiveOf(t *testing.T, layer []byte, config string) []byte {
	t.Helper()
	return makeTar(t, file("l.tar", string(layer)), file("c.json", config), file("manifest.json", `[{"Config":"c.json","Layers":["l.tar"]}]`))
}

func TestDaemonRefuses(t *testing.T) {
	id := "sha256:" + strings.Repeat("a", 64)
	page := func(code int, json, get string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			if strings.HasSuffix(r.URL.Path, "/json") {
				get = json
			}
			_, _ = w.Write([]byte(get))
		}
	}
	cut := oldArchiveOf(t, makeTar(t, file("a", "")), "{}")[:700]
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		host   string
		ref    string
		want   string
		hint   string
	}{
		"no daemon":       {host: "unix:///no/such/socket", want: "the Docker daemon at unix:///no/such/socket cannot be reached: dial unix", hint: "set DOCKER_HOST"},
		"another way":     {host: "ssh://me@host", want: "only unix:// and tcp://", hint: "docker save"},
		"no host":         {host: "unix://", want: "only unix:// and tcp://", hint: "docker save"},
		"an error":        {answer: page(500, `{"message":"no space"}`, ""), want: "500 Internal Server Error no space"},
		"not JSON":        {answer: page(200, `<html>`, ""), want: "the Docker daemon's answer: invalid character"},
		"no ID":           {answer: page(200, `{}`, ""), want: `its ID is ""`},
		"much text":       {answer: page(200, strings.Repeat(" ", maxManifest+1), ""), want: "the answer is larger than 4 MiB"},
		"no archive":      {answer: page(200, `{"Id":"`+id+`"}`, "text"), want: "not a tar"},
		"half an archive": {answer: page(200, `{"Id":"`+id+`"}`, string(cut)), want: "truncated"},
		"no name":         {answer: page(200, "", ""), ref: "docker-daemon:", want: "is not a name"},
		"a path":          {answer: page(200, "", ""), ref: "docker-daemon:../../containers", want: "is not the name of a registry"},
		"a query":         {answer: page(200, "", ""), ref: "docker-daemon:a?b=c", want: "is not a name"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.answer != nil {
				fakeDaemon(t, tt.answer)
			} else {
				t.Setenv("DOCKER_HOST", tt.host)
			}
			ref := "docker-daemon:app"
			if tt.ref != "" {
				ref = tt.ref
			}
			s := newStore(t)
			_, err := s.Resolve(context.Background(), ref, ResolveOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(hint.Text(err), tt.hint) {
				t.Errorf("%v, hint %q; want %q", err, hint.Text(err), tt.want)
			}
			isEmpty(t, s)
		})
	}
}
