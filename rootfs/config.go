package rootfs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Config is the part of an OCI image configuration (image-spec, config.md) that a
// launcher needs.
type Config struct {
	Entrypoint, Cmd, Env         []string
	User, WorkingDir, StopSignal string
	Labels                       map[string]string
	Volumes                      []string // sorted paths
	ExposedPorts                 []string // PORT[-END][/PROTOCOL], sorted
}

// configFile is an OCI image configuration as it is stored. Docker's has the
// same fields.
type configFile struct {
	Created      *time.Time   `json:"created,omitempty"`
	Architecture string       `json:"architecture"`
	OS           string       `json:"os"`
	Variant      string       `json:"variant,omitempty"`
	Config       configFields `json:"config"`
	RootFS       rootFS       `json:"rootfs"`
}

func (c *configFile) platform() v1.Platform {
	return v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
}

type configFields struct {
	User       string              `json:",omitempty"`
	Env        []string            `json:",omitempty"`
	Entrypoint stringList          `json:",omitempty"`
	Cmd        stringList          `json:",omitempty"`
	WorkingDir string              `json:",omitempty"`
	Labels     map[string]string   `json:",omitempty"`
	StopSignal string              `json:",omitempty"`
	Volumes    map[string]struct{} `json:",omitempty"`

	ExposedPorts map[string]struct{} `json:",omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// stringList is a list of strings. Like Docker it accepts a single string as well.
type stringList []string

func (w *stringList) UnmarshalJSON(data []byte) error {
	var one *string
	if err := json.Unmarshal(data, &one); err == nil {
		*w = nil
		if one != nil {
			*w = stringList{*one}
		}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// parseConfig reads an image's configuration. It accepts what Docker accepts; the
// error for anything else names the field.
func parseConfig(data []byte) (*configFile, error) {
	var c configFile
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("image configuration: %w", explainType(err))
	}
	for _, pair := range c.Config.Env {
		// The launcher ignores an entry without "=", as Docker does.
		if strings.HasPrefix(pair, "=") || strings.Contains(pair, "\x00") {
			return nil, fmt.Errorf("image configuration: the entry %s of config.Env is not an environment variable", quote(pair))
		}
	}
	for _, id := range c.RootFS.DiffIDs {
		if !isDigest(id) {
			return nil, fmt.Errorf("image configuration: diff_id %s is not a SHA-256", quote(id))
		}
	}
	return &c, nil
}

// explainType replaces the Go types in an error of encoding/json by words.
func explainType(err error) error {
	var mismatch *json.UnmarshalTypeError
	var time *time.ParseError
	switch {
	case errors.As(err, &time):
		return fmt.Errorf("created is %s, which is not a time", quote(time.Value))
	case !errors.As(err, &mismatch):
		return err
	}
	needed := "a string"
	switch mismatch.Type.Kind() {
	case reflect.Slice:
		needed = "a list of strings"
	case reflect.Map, reflect.Struct:
		needed = "an object"
	}
	got, _, _ := strings.Cut(mismatch.Value, " ") // "number 7"
	return fmt.Errorf("%s has a JSON %s where %s is needed", cmp.Or(mismatch.Field, "it"), got, needed)
}

func (c *configFile) config() Config {
	f := c.Config
	return Config{
		Entrypoint: f.Entrypoint,
		Cmd:        f.Cmd,
		Env:        f.Env,
		User:       f.User,
		WorkingDir: f.WorkingDir,
		StopSignal: f.StopSignal,
		Labels:     f.Labels,
		Volumes:    slices.Sorted(maps.Keys(f.Volumes)),

		ExposedPorts: slices.Sorted(maps.Keys(f.ExposedPorts)),
	}
}
