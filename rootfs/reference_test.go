package rootfs

import (
	"path/filepath"
	"strings"
	"testing"

	docker "github.com/distribution/reference"
)

const someDigest = "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0"

func nothingExists(string) bool { return false }

func TestParseReferenceNames(t *testing.T) {
	for text, want := range map[string]string{
		"debian":                         "docker.io/library/debian:latest",
		"debian:bookworm":                "docker.io/library/debian:bookworm",
		"library/debian":                 "docker.io/library/debian:latest",
		"docker.io/debian":               "docker.io/library/debian:latest",
		"index.docker.io/library/debian": "docker.io/library/debian:latest",
		"me/tool:1.0":                    "docker.io/me/tool:1.0",
		"ghcr.io/me/tool":                "ghcr.io/me/tool:latest",
		"localhost/tool":                 "localhost/tool:latest",
		"localhost:5000/tool:x":          "localhost:5000/tool:x",
		"127.0.0.1:5000/a/b/c":           "127.0.0.1:5000/a/b/c:latest",
		"[::1]:5000/tool":                "[::1]:5000/tool:latest",
		"debian@" + someDigest:           "docker.io/library/debian@" + someDigest,
		"debian:bookworm@" + someDigest:  "docker.io/library/debian@" + someDigest,
		"x.tar":                          "docker.io/library/x.tar:latest",
		someDigest:                       someDigest,
		someDigest[len("sha256:"):]:      someDigest,
		"host:":                          "host:",
		"dir:/srv/root":                  "dir:/srv/root",
		"dir:/srv/a:b":                   "dir:/srv/a:b",
		"/srv/x.tar.gz":                  "/srv/x.tar.gz",
		"docker-archive:/srv/x.tar":      "docker-archive:/srv/x.tar",
		"oci:/srv/../layout":             "oci:/layout",
	} {
		r, err := parseReference(text, nothingExists)
		if err != nil || r.String() != want {
			t.Errorf("parseReference(%q) = %q, %v; want %q", text, r, err, want)
		}
	}
}

func TestParseReferencePaths(t *testing.T) {
	there := map[string]bool{"x.tar": true, "debian": true, "/srv/a:b.tar": true, "/srv/layout": true}
	exists := func(path string) bool { return there[path] }
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]pathReference{
		"x.tar":                             {tarball, here + "/x.tar", ""},
		"./y":                               {tarball, here + "/y", ""},
		"docker-archive:/srv/a:b.tar":       {dockerArchive, "/srv/a:b.tar", ""},
		"docker-archive:/srv/a:b.tar:me:v1": {dockerArchive, "/srv/a:b.tar", "me:v1"},
		"oci:/srv/layout:v1":                {ociLayout, "/srv/layout", "v1"},
		"oci-archive:/srv/none:v1":          {ociArchive, "/srv/none:v1", ""},
	} {
		r, err := parseReference(text, exists)
		if got := (pathReference{r.transport, r.path, r.tag}); err != nil || got != want {
			t.Errorf("parseReference(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	// A name stays a name even where a file of that name lies around.
	if r, err := parseReference("debian", exists); err != nil || r.transport != registry {
		t.Errorf("parseReference(debian) = %v, %v", r, err)
	}
}

type pathReference struct {
	transport transport
	path, tag string
}

func TestParseReferenceErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "not a name",
		"Debian":                 "must be lowercase",
		"debian:":                "tag",
		"debian:-x":              "tag",
		"debian@sha256:12":       "digest",
		"a//b":                   "not a name",
		"-debian":                "not a name",
		"de bian":                "not a name",
		"../x/\x00":              "the path is missing",
		"dir:":                   "the path is missing",
		"foo.example:x/debian":   "not the name of a registry",
		strings.Repeat("a", 300): "longer",
	} {
		_, err := parseReference(text, nothingExists)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseReference(%q) gives error %v; want one with %q", text, err, want)
		}
	}
}

// Docker's own parser is the oracle for names.
func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"debian", "debian:12", "a.b/c", "localhost/x", "x:5000/y:z", "A/b", "a/b@" + someDigest, "[::1]/x", "a__b", "a--b", "a..b", "a___b", "docker.io/x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseReference(text, nothingExists)
		if err == nil {
			again, err := parseReference(r.String(), nothingExists)
			if err != nil || again.String() != r.String() {
				t.Errorf("%q is %q, which is read as %q, %v", text, r, again, err)
			}
		}
		if r.transport != registry || isPath(text) || strings.Contains(text, "@") && !strings.Contains(text, "@sha256:") {
			return // not a name, or a digest of an algorithm that minirun does not take
		}
		for _, p := range prefixes {
			if strings.HasPrefix(text, p.text) || text == "host:" {
				return
			}
		}
		oracle, failed := docker.ParseDockerRef(text)
		if (err == nil) != (failed == nil) {
			t.Fatalf("parseReference(%q) = %v; Docker's parser says %v", text, err, failed)
		}
		if err == nil && oracle.String() != r.String() {
			t.Errorf("parseReference(%q) = %q; Docker's parser says %q", text, r, oracle)
		}
	})
}
