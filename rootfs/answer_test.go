package rootfs

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// Each answer of a registry, or of something in its place, becomes an error that says what
// it is.
func TestAnswers(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	long := strings.Repeat("x", 60000)
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/v2/" {
				return
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const inJSON = "application/json"
	var group sync.WaitGroup // the library waits four seconds for some of them
	defer group.Wait()
	for what, c := range map[string]struct {
		handler  http.HandlerFunc
		want     string
		hint     string
		notFound bool
	}{
		"no such manifest":   {answer(404, inJSON, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`), "answers: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown", "check the name", true},
		"denied":             {answer(403, inJSON, `{"errors":[{"code":"DENIED","message":"requested access is denied"}]}`), "denies access: the repository does not exist or needs credentials: 403 Forbidden: DENIED", "docker login", false},
		"unauthorised":       {answer(401, inJSON, `{}`), "denies access", "docker login", false},
		"too many requests":  {answer(429, inJSON, `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}`), "limits the rate of pulls: 429 Too Many Requests: TOOMANYREQUESTS: You have reached", "try again later", false},
		"unavailable":        {answer(503, "text/html", "<html>busy</html>"), "is unavailable: 503 Service Unavailable", "try again later", false},
		"a teapot":           {answer(418, "text/plain", "short and stout"), "answers: 418 I'm a teapot", "", false},
		"a page":             {answer(200, "text/html", "<html><title>Log in</title></html>"), `is not a registry: it answers with "text/html", not with JSON`, "a proxy", false},
		"a page for a token": {tokenPage, "is not a registry", "a proxy", false},
		"much text":          {answer(404, inJSON, `{"errors":[{"code":"NAME_UNKNOWN","message":"`+long+`"}]}`), "NAME_UNKNOWN: xxx", "check the name", true},
		"an old image":       {answer(200, "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`), "schema 1", "skopeo copy", false},
		"an old image, JSON": {answer(200, inJSON, `{"schemaVersion":1,"fsLayers":[]}`), "schema 1", "skopeo copy", false},
		"an old artifact":    {answer(200, "application/vnd.oci.artifact.manifest.v1+json", `{"artifactType":"text/x"}`), `an artifact of the type "text/x"`, "", false},
	} {
		server := httptest.NewServer(c.handler)
		t.Cleanup(server.Close)
		s := newStore(t)
		group.Go(func() {
			_, err := s.Resolve(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/tool", ResolveOptions{})
			checkAnswer(t, what, err, c.want, c.hint, c.notFound)
		})
	}
}

// tokenPage sends clients to a page where they expect a token.
func tokenPage(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprint(w, "<html>")
}

func checkAnswer(t *testing.T, what string, err error, want, help string, notFound bool) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(hint.Text(err), help) {
		t.Errorf("%s: %v; want %q and the hint %q", what, err, want, help)
		return
	}
	if errors.Is(err, ErrNotFound) != notFound || strings.Contains(err.Error(), "no such image") != notFound {
		t.Errorf("%s: not found is not %v: %v", what, notFound, err)
	}
	if len(err.Error()) > 1000 {
		t.Errorf("%s: an error of %d bytes", what, len(err.Error()))
	}
}

func TestUnreachable(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := listener.Addr().String()
	_ = listener.Close()
	s := newStore(t)
	_, err = s.Resolve(t.Context(), nobody+"/tool", ResolveOptions{})
	checkAnswer(t, "nobody listens", err, nobody+" cannot be reached", "check the name and the network", false)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	_, err = s.Resolve(t.Context(), "registry.invalid/tool", ResolveOptions{}) // RFC 6761
	checkAnswer(t, "no such host", err, "registry.invalid cannot be reached", "check the name and the network", false)
}

// The name that was typed is not suggested as a correction.
func TestDidYouMeanAnother(t *testing.T) {
	var gone atomic.Bool
	host := newRegistry(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				next = http.NotFoundHandler()
			}
			next.ServeHTTP(w, r)
		})
	})
	push(t, host+"/tool", testImage(t, there, "a"))
	s := newStore(t)
	if _, err := s.Pull(t.Context(), host+"/tool", ResolveOptions{Platform: "riscv64"}); err != nil {
		t.Fatal(err)
	}
	gone.Store(true)
	for ref, want := range map[string]string{"tool": "the store has it for linux/riscv64", "tool:latest": "the store has it for linux/riscv64", "tol": "did you mean " + host + "/tool?"} {
		_, err := s.Resolve(t.Context(), host+"/"+ref, ResolveOptions{Platform: "linux/s390x"})
		checkAnswer(t, ref, err, "no such image", want, true)
	}
}

// Credentials that cannot be read are not used, with a warning.
func TestBrokenCredentials(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/tool", testImage(t, here, "a"))
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for name, script := range map[string]string{"failing": "exit 1", "babbling": "echo '<html>'"} {
		if err := os.WriteFile(filepath.Join(bin, "docker-credential-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for what, config := range map[string]string{
		"not JSON":         "{",
		"a bad secret":     `{"auths":{"` + host + `":{"auth":"%%%"}}}`,
		"no helper":        `{"credsStore":"nosuch"}`,
		"a failing helper": `{"credHelpers":{"` + host + `":"failing"}}`,
		"a babbling one":   `{"credsStore":"babbling"}`,
		"a FIFO":           "",
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			file := os.Getenv("DOCKER_CONFIG") + "/config.json"
			if config != "" {
				write(t, file, []byte(config))
			} else if err := unix.Mkfifo(file, 0o600); err != nil {
				t.Fatal(err)
			}
			s := newStore(t)
			var warnings []string
			_, err := s.Pull(t.Context(), host+"/tool", ResolveOptions{Warn: func(text string) { warnings = append(warnings, text) }})
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], "credentials for "+host+" cannot be read") || strings.Contains(warnings[0], "\n") {
				t.Errorf("%q", warnings)
			}
		})
	}
}
