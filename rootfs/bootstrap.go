package rootfs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/minirun/minirun/internal/hint"
)

// BootstrapOptions are the choices of Bootstrap.
type BootstrapOptions struct {
	Distribution string    // "debian"
	Suite        string    // bookworm, trixie, sid, ...; "" is bookworm
	Packages     []string  // in addition to the minimal system
	Log          io.Writer // receives the output of mmdebstrap; may be nil
}

const defaultSuite = "bookworm"

// debianKeyring has the keys of Debian's archive (package debian-archive-keyring).
// It is added to what apt trusts anyway, which on Ubuntu are other keys.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// basePackages are added to the essential packages of every bootstrapped Debian: those of
// Docker's image, and those that the guide's walkthrough of profiles uses.
var basePackages = [...]string{"bash", "iputils-ping", "libcap2-bin", "passwd", "procps"}

// Bootstrap makes an image of a Debian suite with mmdebstrap(1), from the mirror that the
// host's apt uses, or deb.debian.org on a host that has none. Its name is
// docker.io/library/debian:SUITE; the default suite is also
// docker.io/library/debian:latest, so that `debian` means it. Bootstrap needs root, or root
// of a user namespace with subordinate IDs. It takes some 20 s. An error is an [*Error].
func (s *Store) Bootstrap(ctx context.Context, o BootstrapOptions) (*ImageInfo, error) {
	if o.Distribution != "debian" {
		return nil, &Error{Op: "bootstrap " + o.Distribution, Err: errors.New("only debian can be bootstrapped"), Cause: CauseDistribution}
	}
	if o.Suite == "" || o.Suite == "latest" {
		o.Suite = defaultSuite
	}
	op := "bootstrap debian:" + o.Suite
	if !isComponent(o.Suite) {
		return nil, hint.With(&Error{Op: op, Err: errors.New("not the name of a suite")}, "for example bookworm, trixie or sid")
	}
	if os.Geteuid() != 0 {
		return nil, &Error{Op: op, Err: errors.New("bootstrap needs root"), Cause: CauseBootstrapRoot, Name: "debian:" + o.Suite}
	}
	if ids, err := readIDs(); err != nil {
		return nil, &Error{Op: op, Err: err}
	} else if ids.inside && ids.uids == 1 {
		return nil, &Error{Op: op, Err: errors.New("its files have owners, and there is one user here, 0"), Cause: CauseUserIDs}
	}
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return nil, hint.With(&Error{Op: op, Err: errors.New("mmdebstrap is not installed")}, "apt-get install mmdebstrap")
	}
	info, err := s.bootstrap(ctx, o)
	if err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	return info, nil
}

func (s *Store) bootstrap(ctx context.Context, o BootstrapOptions) (*ImageInfo, error) {
	sources, err := aptSources(ctx, o.Suite)
	if err != nil {
		return nil, err
	}
	work, err := s.newWorkDir()
	if err != nil {
		return nil, err
	}
	defer func() { _ = work.remove() }() // the next sweep removes what is left
	if err := os.Chmod(work.path, 0o711); err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	return s.add(ctx, &content{
		names: debianNames(o.Suite),
		base:  configFile{Architecture: runtime.GOARCH, OS: "linux"},
		made: &describedFile{
			Created: now.Format(time.RFC3339), Architecture: runtime.GOARCH, OS: "linux",
			Config: ImageConfig{
				Cmd: []string{"bash"},
				Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			},
			History: []historyEntry{{Created: &now, CreatedBy: "mmdebstrap " + strings.Join(mmdebstrapOptions(o), " ") + " " + o.Suite}},
		},
		layers: []layerSource{{ended: true, open: func(ctx context.Context) (io.ReadCloser, error) {
			return startMmdebstrap(ctx, o, sources, work)
		}}},
	}, nil)
}

func debianNames(suite string) []string {
	const repository = dockerHub + "/library/debian:"
	if suite == defaultSuite {
		return []string{repository + "latest", repository + suite}
	}
	return []string{repository + suite}
}

// mmdebstrapOptions returns the options that decide what is in the image.
func mmdebstrapOptions(o BootstrapOptions) []string {
	packages := append(slices.Clone(basePackages[:]), o.Packages...)
	return []string{"--variant=minbase", "--include=" + strings.Join(packages, ",")}
}

// startMmdebstrap starts mmdebstrap, and returns the tar that it writes.
func startMmdebstrap(ctx context.Context, o BootstrapOptions, sources []string, work *workDir) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	args := append(mmdebstrapOptions(o), "--format=tar")
	if _, err := os.Stat(debianKeyring); err == nil {
		args = append(args, "--keyring="+debianKeyring)
	}
	args = append(args, o.Suite, "-")
	command := exec.CommandContext(ctx, "mmdebstrap", append(args, sources...)...)
	command.Env = append(os.Environ(), "TMPDIR="+work.path, "LC_ALL=C.UTF-8")
	command.SysProcAttr = &syscall.SysProcAttr{
		// When it ends early it signals its whole process group, which must not be
		// ours.
		Setpgid: true,
		// It mounts /proc, /sys and devices in the new root. In a namespace of its
		// own they end with it, even if it is killed, and removing the directory
		// can never reach the host's devices through them. As PID 1 it takes its
		// children with it, so nothing is written while the directory is removed.
		Unshareflags: syscall.CLONE_NEWNS,
		Cloneflags:   syscall.CLONE_NEWPID,
	}
	command.WaitDelay = 10 * time.Second
	// If this process dies, the directory stays locked until mmdebstrap has ended too.
	command.ExtraFiles = []*os.File{work.lock}
	said := &lastLines{log: o.Log}
	command.Stderr = said
	return startProgram(command, cancel, func(failed error) error { return fmt.Errorf("mmdebstrap: %w: %s", failed, said) })
}

// lastLines passes on what is written, and keeps the last lines that are neither
// information nor warnings of mmdebstrap and apt.
type lastLines struct {
	log   io.Writer
	lines []string
	rest  []byte
}

const keptLines = 3

func (l *lastLines) Write(p []byte) (int, error) {
	if l.log != nil {
		_, _ = l.log.Write(p)
	}
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.rest = rest
		text := strings.TrimSpace(string(line[bytes.LastIndexByte(line, '\r')+1:]))
		if text != "" && !strings.HasPrefix(text, "I: ") && !strings.HasPrefix(text, "W: ") {
			l.lines = append(l.lines, text)
			l.lines = l.lines[max(0, len(l.lines)-keptLines):]
		}
	}
}

func (l *lastLines) String() string { return strings.Join(l.lines, "; ") }

// aptSources returns the lines of sources.list(5) for a Debian suite.
func aptSources(ctx context.Context, suite string) ([]string, error) {
	// This prints what apt would fetch, by all of its configuration, and works before the
	// first update.
	out, err := exec.CommandContext(ctx, "apt-get", "update", "--print-uris").Output()
	if err != nil && !errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("apt-get update --print-uris: %w", err)
	}
	mirror, security := debianMirrors(out)
	if suite == "sid" || suite == "unstable" {
		return []string{"deb " + mirror + " " + suite + " main"}, nil
	}
	return []string{
		"deb " + mirror + " " + suite + " main",
		"deb " + mirror + " " + suite + "-updates main",
		"deb " + security + " " + suite + "-security main",
	}, nil
}

// debianMirrors finds Debian's archive and its security archive among lines
// like 'http://deb.debian.org/debian/dists/bookworm/InRelease' FILE 0. Others
// serve suites of that name too (download.docker.com/linux/debian bookworm), but
// only Debian has a bookworm-updates.
func debianMirrors(uris []byte) (mirror, security string) {
	mirror, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
	var foundMirror, foundSecurity bool
	lines := bufio.NewScanner(bytes.NewReader(uris))
	for lines.Scan() {
		quoted, _, _ := strings.Cut(strings.TrimPrefix(lines.Text(), "'"), "'")
		base, dist, ok := strings.Cut(quoted, "/dists/")
		if !ok || !strings.HasPrefix(path.Base(base), "debian") {
			continue
		}
		suite, kind, _ := strings.Cut(path.Dir(dist), "-")
		switch {
		case !isDebianSuite(suite):
		case kind == "updates" && !foundMirror:
			mirror, foundMirror = base, true
		case kind == "security" && !foundSecurity:
			security, foundSecurity = base, true
		}
	}
	return mirror, security
}

func isDebianSuite(suite string) bool {
	switch suite {
	case "bullseye", "bookworm", "trixie", "forky", "oldoldstable", "oldstable", "stable", "testing":
		return true
	}
	return false
}
