package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/minirun/minirun/internal/hint"
)

// transport is where an image comes from.
type transport int

const (
	registry      transport = iota // a name: the store first, then its registry
	hostRoot                       // host:
	directory                      // dir:PATH
	tarball                        // a path; the content decides which kind of tarball it is
	dockerArchive                  // docker-archive:PATH[:NAME]
	ociArchive                     // oci-archive:PATH[:TAG]
	ociLayout                      // oci:PATH[:TAG]
	dockerDaemon                   // docker-daemon:NAME[:TAG]
	imageID                        // the whole ID of an image of the store
)

// prefixes are the names of transports, those of skopeo(1) and podman-run(1) if they
// have one.
var prefixes = [...]struct {
	text string
	transport
}{
	{"dir:", directory},
	{"docker-archive:", dockerArchive},
	{"oci-archive:", ociArchive},
	{"oci:", ociLayout},
	{"docker-daemon:", dockerDaemon},
}

// reference is a parsed image argument.
type reference struct {
	transport
	path string // absolute; "" for registry and hostRoot; a name or an ID for dockerDaemon
	tag  string // which image of an archive or layout; "" is its only one

	domain, repository string // registry: docker.io, library/debian
	version            string // registry: ":latest" or "@sha256:…"
	bare               bool   // registry: the version was not written

	id string // hexadecimal digits that an image's ID may begin with
}

// String is the name under which the store keeps the image: Docker's full
// name, or the transport and the absolute path.
func (r reference) String() string {
	switch r.transport {
	case registry:
		return r.domain + "/" + r.repository + r.version
	case hostRoot:
		return "host:"
	case imageID:
		return "sha256:" + r.id
	case tarball:
		return r.path
	}
	text := r.path
	for _, p := range prefixes {
		if p.transport == r.transport {
			text = p.text + text
		}
	}
	if r.tag != "" {
		text += ":" + r.tag
	}
	return text
}

// digest is the sha256:… of a reference by digest, else "".
func (r reference) digest() string {
	digest, _ := strings.CutPrefix(r.version, "@")
	if digest == r.version {
		return ""
	}
	return digest
}

// parseReference parses an image argument. A path begins with "/", "./" or "../", or
// ends like a tarball and exists, as reported by exists.
func parseReference(text string, exists func(string) bool) (reference, error) {
	if text == "host:" {
		return reference{transport: hostRoot}, nil
	}
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(text, p.text); ok && p.transport == dockerDaemon {
			return parseDaemonName(rest)
		} else if ok {
			return parsePath(p.transport, rest, exists)
		}
	}
	if isPath(text) || isTarballName(text) && exists(text) {
		return parsePath(tarball, text, exists)
	}
	return parseName(text)
}

func isPath(text string) bool {
	for _, prefix := range []string{"/", "./", "../"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return text == "." || text == ".."
}

func isTarballName(text string) bool {
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2"} {
		if strings.HasSuffix(text, suffix) {
			return true
		}
	}
	return false
}

// parsePath parses PATH or PATH:TAG. Because a path may contain colons, the longest
// path that exists is taken.
func parsePath(t transport, text string, exists func(string) bool) (reference, error) {
	path, tag := text, ""
	if t != directory && t != tarball && !exists(text) {
		for i := len(text) - 1; i > 0; i-- {
			if text[i] == ':' && exists(text[:i]) {
				path, tag = text[:i], text[i+1:]
				break
			}
		}
	}
	if path == "" || strings.ContainsRune(path, 0) {
		return reference{}, hint.With(&Error{Op: "image " + quote(text), Err: errors.New("the path is missing")}, "write for example dir:/srv/root")
	}
	abs, err := filepath.Abs(path)
	if err != nil { // getwd(2) fails
		return reference{}, hint.With(&Error{Op: "image " + quote(text), Err: errors.New("the working directory was removed")}, "use an absolute path")
	}
	return reference{transport: t, path: abs, tag: tag}, nil
}

func pathExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

const (
	dockerHub     = "docker.io"
	maxNameLength = 255
	maxTagLength  = 128
	digestLength  = 64 // hexadecimal digits of SHA-256
)

// parseName parses [DOMAIN/]REPOSITORY[:TAG][@DIGEST] as Docker does
// (github.com/distribution/reference, ParseDockerRef): docker.io, library/ and
// :latest are implied, and a digest takes precedence over a tag. That package is not
// used because its regular expressions cost every start of a container two
// milliseconds.
func parseName(text string) (reference, error) {
	r, err := splitName(text)
	if err != nil {
		return reference{}, hint.With(&Error{Op: "image " + quote(text), Err: err}, "write NAME[:TAG], a path that begins with / or ./, or dir:PATH")
	}
	return r, nil
}

func splitName(text string) (reference, error) {
	if hex := strings.TrimPrefix(text, "sha256:"); isHex(hex) && len(hex) == digestLength {
		return reference{transport: imageID, id: hex}, nil
	}
	rest, digest, hasDigest := strings.Cut(text, "@")
	if hasDigest && !isDigest(digest) {
		return reference{}, fmt.Errorf("digest %s is not sha256: and 64 hexadecimal digits", quote(digest))
	}
	name, tag := rest, ""
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		name, tag = rest[:i], rest[i+1:]
		if !isTag(tag) {
			return reference{}, fmt.Errorf("tag %s is not 1 to 128 letters, digits, _, . and -", quote(tag))
		}
	}
	r := reference{version: ":latest"}
	r.domain, r.repository = splitDomain(name)
	if text != "" && isHex(text) {
		r.id = text
	}
	switch {
	case hasDigest:
		r.version = "@" + digest
	case tag != "":
		r.version = ":" + tag
	default:
		r.bare = true
	}
	return r, r.check()
}

// splitDomain separates the registry from the repository: the part before the first
// slash is a registry if it has a dot, a port or a capital letter, or is localhost.
func splitDomain(name string) (domain, repository string) {
	first, rest, found := strings.Cut(name, "/")
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" && strings.ToLower(first) == first {
		first, rest = dockerHub, name
	}
	if first == "index.docker.io" {
		first = dockerHub
	}
	if first == dockerHub && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	return first, rest
}

func (r reference) check() error {
	if !isDomain(r.domain) {
		return fmt.Errorf("%s is not the name of a registry", quote(r.domain))
	}
	if len(r.repository) > maxNameLength {
		return fmt.Errorf("the name is longer than %d bytes", maxNameLength)
	}
	if strings.ToLower(r.repository) != r.repository {
		return errors.New("a repository's name must be lowercase")
	}
	for _, part := range strings.Split(r.repository, "/") {
		if !isComponent(part) {
			return fmt.Errorf("%s is not a name: write lowercase letters and digits, separated by . _ __ or -", quote(part))
		}
	}
	return nil
}

// isComponent reports whether s is [a-z0-9]+ joined by ".", "_", "__" or dashes.
func isComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		start := i
		for i < len(s) && !isLowerAlnum(s[i]) {
			i++
		}
		separator := s[start:i]
		if separator != "" && separator != "." && separator != "_" && separator != "__" && strings.Trim(separator, "-") != "" {
			return false
		}
		for i < len(s) && isLowerAlnum(s[i]) {
			i++
		}
	}
	return true
}

// isDomain reports whether s is a host name, an IPv4 address or [IPv6], with or
// without a port.
func isDomain(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
		if port == "" || strings.Trim(port, "0123456789") != "" {
			return false
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && strings.Trim(inner, "0123456789abcdefABCDEF:") == ""
	}
	for _, label := range strings.Split(host, ".") {
		if label == "" || !isAlnum(label[0]) || !isAlnum(label[len(label)-1]) {
			return false
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func isTag(s string) bool {
	if s == "" || len(s) > maxTagLength || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

func isDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == digestLength && isHex(hex)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

func isLowerAlnum(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' }

func isAlnum(c byte) bool { return isLowerAlnum(c) || 'A' <= c && c <= 'Z' }
