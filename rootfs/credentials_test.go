package rootfs

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

const (
	testUser     = "me"
	testPassword = "secret"
)

// private protects a registry: with a user and a password, or with tokens for them.
func private(bearer bool, asked *atomic.Int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, password, _ := r.BasicAuth()
			known := user == testUser && password == testPassword
			if known {
				asked.Add(1)
			}
			switch {
			case bearer && r.URL.Path == "/token" && known:
				fmt.Fprint(w, `{"token":"a-token"}`)
			case !bearer && known, bearer && r.Header.Get("Authorization") == "Bearer a-token":
				next.ServeHTTP(w, r)
			default:
				challenge := `Basic realm="test"`
				if bearer {
					challenge = fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host)
				}
				w.Header().Set("WWW-Authenticate", challenge)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			}
		})
	}
}

// helper puts a credential helper into PATH, which knows one registry (Docker's
// credential-helpers protocol).
func helper(t *testing.T, name, host string) {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
read -r server
if [ "$1" = get ] && [ "$server" = %s ]; then
	echo '{"ServerURL":"%[1]s","Username":"%s","Secret":"%s"}'
else
	echo "credentials not found in native keychain"; exit 1
fi
`, host, testUser, testPassword)
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// A private image is pushed and pulled with the credentials that the user has stored,
// wherever docker and podman store them.
func TestCredentials(t *testing.T) {
	entry := func(name string) string {
		return fmt.Sprintf(`{"auths":{"other.example":{"auth":"eDp5"},%q:{"auth":%q}}}`, name, base64.StdEncoding.EncodeToString([]byte(testUser+":"+testPassword)))
	}
	layer := makeTar(t, file("one", ""))
	for name, c := range map[string]struct {
		file    string // below the home directory
		content func(t *testing.T, host string) string
		denied  bool
	}{
		"docker login": {".docker/config.json", func(_ *testing.T, host string) string { return entry(host) }, false},
		"a helper": {".docker/config.json", func(t *testing.T, host string) string {
			helper(t, "one", host)
			return `{"credHelpers":{"` + host + `":"one"}}`
		}, false},
		"a store":           {".docker/config.json", func(t *testing.T, host string) string { helper(t, "all", host); return `{"credsStore":"all"}` }, false},
		"a store of others": {".docker/config.json", func(t *testing.T, _ string) string { helper(t, "all", "other.example"); return `{"credsStore":"all"}` }, true},
		"podman login":      {"run/containers/auth.json", func(_ *testing.T, host string) string { return entry(host) }, false},
		"of a namespace":    {"run/containers/auth.json", func(_ *testing.T, host string) string { return entry(host + "/team") }, false},
		"of another one":    {"run/containers/auth.json", func(_ *testing.T, host string) string { return entry(host + "/others") }, true},
		"podman's own file": {".config/containers/auth.json", func(_ *testing.T, host string) string { return entry(host) }, false},
		"podman's helper": {"run/containers/auth.json", func(t *testing.T, host string) string {
			helper(t, "two", host)
			return `{"credHelpers":{"` + host + `":"two"}}`
		}, false},
		"a broken file": {".docker/config.json", func(*testing.T, string) string { return "{" }, true},
		"none":          {"x", func(*testing.T, string) string { return "" }, true},
	} {
		for _, bearer := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, bearer %t", name, bearer), func(t *testing.T) {
				var asked atomic.Int64
				host := newRegistry(t, private(bearer, &asked))
				home := t.TempDir()
				for variable, value := range map[string]string{"HOME": home, "XDG_RUNTIME_DIR": home + "/run", "XDG_CONFIG_HOME": home + "/.config", "REGISTRY_AUTH_FILE": "", "DOCKER_CONFIG": home + "/.docker"} {
					t.Setenv(variable, value)
				}
				file := filepath.Join(home, c.file)
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, file, []byte(c.content(t, host)))
				if name == "podman login" { // which docker's client knows nothing of
					if err := os.MkdirAll(home+"/.docker", 0o700); err != nil {
						t.Fatal(err)
					}
					write(t, home+"/.docker/config.json", []byte(`{"auths":{"other.example":{"auth":"eDp5"}}}`))
				}
				s := newStore(t)
				ref := host + "/team/tool:1"
				image := resolve(t, s, saveImage(t, filepath.Join(home, "x.tar"), "", layer))
				if err := s.Tag(image.Name, ref); err != nil {
					t.Fatal(err)
				}
				_, err := s.Push(t.Context(), ref, ResolveOptions{})
				if denied := err != nil; denied != c.denied || denied && !strings.Contains(err.Error(), "denies access") {
					t.Fatalf("push: %v", err)
				}
				if _, err = s.Pull(t.Context(), ref, ResolveOptions{}); (err != nil) != c.denied {
					t.Errorf("pull: %v", err)
				}
				if (asked.Load() == 0) != c.denied {
					t.Errorf("the credentials were sent %d times", asked.Load())
				}
			})
		}
	}
}
