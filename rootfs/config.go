package rootfs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Config is what an image says about how to run it: the part of the OCI image
// configuration (image-spec, config.md) that a launcher needs.
type Config struct {
	Entrypoint, Cmd, Env         []string
	User, WorkingDir, StopSignal string
	Labels                       map[string]string
	Volumes                      []string // sorted paths
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

type configFields struct {
	User       string              `json:",omitempty"`
	Env        []string            `json:",omitempty"`
	Entrypoint []string            `json:",omitempty"`
	Cmd        []string            `json:",omitempty"`
	WorkingDir string              `json:",omitempty"`
	Labels     map[string]string   `json:",omitempty"`
	StopSignal string              `json:",omitempty"`
	Volumes    map[string]struct{} `json:",omitempty"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

func parseConfig(data []byte) (*configFile, error) {
	var c configFile
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	for _, id := range c.RootFS.DiffIDs {
		if !isDigest(id) {
			return nil, fmt.Errorf("image configuration: diff_id %q is not a SHA-256", id)
		}
	}
	return &c, nil
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
	}
}
