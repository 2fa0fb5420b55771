package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp"
)

// The annotations of a container that mean something to minirun.
const (
	annotationPrefix   = "org.minirun."
	explainAnnotation  = annotationPrefix + "explain"         // stderr, or a file's name in settings.Reports
	complainAnnotation = annotationPrefix + "complain"        // true or false
	recordAnnotation   = annotationPrefix + "record"          // a directory's name in settings.Records
	profileAnnotation  = annotationPrefix + "seccomp-profile" // default, or a file's path in settings.Profiles
)

func annotationNames() []string {
	return []string{explainAnnotation, complainAnnotation, recordAnnotation, profileAnnotation}
}

// toStderr is the value of explainAnnotation for the container's standard error.
const toStderr = "stderr"

// annotations are those of minirun's that a container has, and the administrator allows.
type annotations struct {
	settings *settings
	values   map[string]string
}

// readAnnotations returns a container's annotations, or nil if it has none of minirun's. A
// Pod's sandbox, which has the Pod's annotations as well, is left alone.
func readAnnotations(spec *specs.Spec, settingsFile string) (*annotations, error) {
	a := &annotations{values: map[string]string{}}
	var names []string
	for name, value := range spec.Annotations {
		if strings.HasPrefix(name, annotationPrefix) {
			a.values[name] = value
			names = append(names, name)
		}
	}
	if len(names) == 0 || isSandbox(spec.Annotations) {
		return nil, nil
	}
	var err error
	if a.settings, err = readSettings(settingsFile); err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if !slices.Contains(a.settings.Annotations, name) {
			return nil, hint.New("annotation "+name+" is not allowed here", "the administrator allows it in "+settingsFile)
		}
	}
	return a, nil
}

// isSandbox reports whether a container is what holds a Pod's namespaces, as containerd
// and CRI-O say it.
func isSandbox(annotations map[string]string) bool {
	return annotations["io.kubernetes.cri.container-type"] == "sandbox" || annotations["io.kubernetes.cri-o.ContainerType"] == "sandbox"
}

func annotationError(name, format string, args ...any) error {
	return fmt.Errorf("annotation %s: %w", name, fmt.Errorf(format, args...))
}

// profile returns the profile in Docker's format that an annotation names.
func (a *annotations) profile() (*profileText, error) {
	name := a.values[profileAnnotation]
	if name == "default" {
		return &profileText{profiles.DefaultName, profiles.Default()}, nil
	}
	data, err := readBelow(a.settings.Profiles, name)
	if err != nil {
		return nil, annotationError(profileAnnotation, "%w", err)
	}
	return &profileText{filepath.Join(a.settings.Profiles, name), data}, nil
}

// watch returns how a container is observed, or nil.
func (a *annotations) watch(b *bundle) (*watch, error) {
	w := &watch{Explain: a.values[explainAnnotation], Command: b.spec.Process.Args[0]}
	switch a.values[complainAnnotation] {
	case "true":
		w.Complain = true
	case "false":
	case "":
		if _, set := a.values[complainAnnotation]; set {
			return nil, annotationError(complainAnnotation, "it is true or false")
		}
	default:
		return nil, annotationError(complainAnnotation, "%q: it is true or false", a.values[complainAnnotation])
	}
	_, explains := a.values[explainAnnotation]
	_, records := a.values[recordAnnotation]
	var err error
	switch {
	case explains && w.Explain != toStderr:
		if w.Explain, err = a.file(explainAnnotation, a.settings.Reports); err != nil {
			return nil, err
		}
	case w.Complain && !explains: // as with the flag of run
		w.Explain = toStderr
	}
	if records {
		dir, err := a.file(recordAnnotation, a.settings.Records)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, annotationError(recordAnnotation, "%w", err)
		}
		w.Record = filepath.Join(dir, recordName(b.spec.Annotations, w.Command))
	}
	if !explains && !w.Complain && !records {
		return nil, nil
	}
	return w, nil
}

// file returns the path of what an annotation names in a directory. It is one name, so
// that no other part of the machine can be meant.
func (a *annotations) file(annotation, dir string) (string, error) {
	name := a.values[annotation]
	if name == "" || name != cleanName(name) {
		return "", hint.With(annotationError(annotation, "%q is not the name of something in %s", name, dir), "use letters, digits and _ . - with no dot in front")
	}
	path := filepath.Join(dir, name)
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		return "", annotationError(annotation, "%s is a symbolic link", path)
	}
	return path, nil
}

// cleanName returns a text as a file's name: letters, digits and _ . - with no dot in
// front.
func cleanName(text string) string {
	clean := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-", r) {
			return r
		}
		return '_'
	}, text)
	if strings.HasPrefix(clean, ".") {
		clean = "_" + clean[1:]
	}
	return clean[:min(len(clean), unix.NAME_MAX-len(".json"))]
}

// recordName is the file's name of the profile of an image and a command. containerd and
// CRI-O name the image in an annotation; dockerd does not.
func recordName(annotations map[string]string, command string) string {
	name := filepath.Base(command)
	for _, key := range []string{"io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "org.opencontainers.image.ref.name"} {
		if image := annotations[key]; image != "" {
			name = image + "_" + name
			break
		}
	}
	return cleanName(name) + ".json"
}

// profileText is a profile's file.
type profileText struct {
	File string `json:"file"`
	Text []byte `json:"text"`
}

// resolve returns the rules for a container with these capabilities.
func (p *profileText) resolve(caps *specs.LinuxCapabilities) (*seccomp.Policy, error) {
	target, err := seccomp.HostTarget(bounding(caps))
	if err != nil {
		return nil, err
	}
	profile, err := seccomp.Parse(p.File, p.Text)
	if err != nil {
		return nil, err
	}
	return profile.Resolve(target)
}

func bounding(caps *specs.LinuxCapabilities) []string {
	if caps == nil {
		return nil
	}
	return caps.Bounding
}

// openReport opens a file of explainAnnotation.
func openReport(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}
