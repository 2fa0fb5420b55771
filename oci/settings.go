package oci

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/compile"
)

// settingsFile is where the administrator says what annotations may change. Whoever
// starts a container sets those, in Kubernetes by a Pod's metadata.
const settingsFile = "/etc/minirun/runtime.json"

// settings are the content of settingsFile. Without the file no annotation is allowed.
type settings struct {
	Annotations []string `json:"annotations"` // those that are allowed
	Profiles    string   `json:"profiles"`    // where org.minirun.seccomp-profile looks
}

const (
	annotationPrefix  = "org.minirun."
	profileAnnotation = annotationPrefix + "seccomp-profile"

	defaultProfiles = "/etc/minirun/profiles"
)

// readSettings reads a file that only root can write.
func readSettings(name string) (*settings, error) {
	s := &settings{Profiles: defaultProfiles}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != uint32(os.Geteuid()) || info.Mode().Perm()&0o022 != 0 || !info.Mode().IsRegular() {
		return nil, hint.New(name+": others than root can write it", "chown root it, and chmod go-w")
	}
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, a := range s.Annotations {
		if a != profileAnnotation {
			return nil, fmt.Errorf("%s: annotations: %q is none of minirun's: there is %s", name, a, profileAnnotation)
		}
	}
	if !filepath.IsAbs(s.Profiles) {
		return nil, fmt.Errorf("%s: profiles: %q is not an absolute path", name, s.Profiles)
	}
	return s, nil
}

// annotated applies the annotations of minirun's to a container: it returns the list
// that takes the place of linux.seccomp, and where its rules stand. A Pod's sandbox, which has the Pod's
// annotations as well, is left alone.
func annotated(spec *specs.Spec, settingsFile string) (*specs.LinuxSeccomp, compile.Origin, error) {
	var ours []string
	for name := range spec.Annotations {
		if strings.HasPrefix(name, annotationPrefix) {
			ours = append(ours, name)
		}
	}
	if len(ours) == 0 || isSandbox(spec.Annotations) {
		return spec.Linux.Seccomp, rulePositions(configFile), nil
	}
	s, err := readSettings(settingsFile)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(ours)
	for _, name := range ours {
		if !slices.Contains(s.Annotations, name) {
			return nil, nil, hint.New("annotation "+name+" is not allowed here", "the administrator allows it in "+settingsFile)
		}
	}
	policy, err := s.profile(spec.Annotations[profileAnnotation], spec.Process.Capabilities)
	if err != nil {
		return nil, nil, fmt.Errorf("annotation %s: %w", profileAnnotation, err)
	}
	return policy.Seccomp, policy.RulePosition, nil
}

// isSandbox reports whether a container is what holds a Pod's namespaces, as containerd
// and CRI-O say it.
func isSandbox(annotations map[string]string) bool {
	return annotations["io.kubernetes.cri.container-type"] == "sandbox" || annotations["io.kubernetes.cri-o.ContainerType"] == "sandbox"
}

// profile resolves a profile in Docker's format for a container's capabilities. Its name
// is a path below the directory of profiles, or default.
func (s *settings) profile(name string, caps *specs.LinuxCapabilities) (*seccomp.Policy, error) {
	var bounding []string
	if caps != nil {
		bounding = caps.Bounding
	}
	target, err := seccomp.HostTarget(bounding)
	if err != nil {
		return nil, err
	}
	if name == "default" {
		profile, err := seccomp.Parse(profiles.DefaultName, profiles.Default())
		if err != nil {
			return nil, err
		}
		return profile.Resolve(target)
	}
	data, err := readBelow(s.Profiles, name)
	if err != nil {
		return nil, err
	}
	profile, err := seccomp.Parse(filepath.Join(s.Profiles, name), data)
	if err != nil {
		return nil, err
	}
	return profile.Resolve(target)
}

// readBelow reads a file below a directory, as if that were the root: whoever names the
// file may not be allowed to read others.
func readBelow(dir, name string) ([]byte, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	handle, err := pathrs.OpenatInRoot(root, name)
	if err != nil {
		return nil, fmt.Errorf("%s below %s: %w", name, dir, err)
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s below %s is not a regular file", name, dir)
	}
	f, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, seccomp.MaxSize+1))
}
