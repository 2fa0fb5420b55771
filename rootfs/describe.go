package rootfs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Description describes an image. Its fields have the names that they have in `docker image
// inspect`.
type Description struct {
	ID           string   `json:"Id"`
	RepoTags     []string // all names of the image
	RepoDigests  []string // REPOSITORY@DIGEST of those that came from a registry
	Comment      string
	Created      string
	Author       string
	Config       ImageConfig
	Architecture string
	Variant      string `json:",omitempty"`
	Os           string
	Size         int64 // bytes of the layers' tars
	GraphDriver  GraphDriver
	RootFS       DescribedRootFS
	Descriptor   Descriptor
}

// ImageConfig is the part of an image's configuration that containers get
// (image-spec, config.md, and Docker's OnBuild, Shell and Healthcheck). Docker's
// client prints it in the same way.
type ImageConfig struct {
	User         string              `json:",omitempty"`
	ExposedPorts map[string]struct{} `json:",omitempty"`
	Env          []string            `json:",omitempty"`
	Cmd          stringList          `json:",omitempty"`
	Healthcheck  json.RawMessage     `json:",omitempty"`
	Volumes      map[string]struct{} `json:",omitempty"`
	WorkingDir   string              `json:",omitempty"`
	Entrypoint   stringList          `json:",omitempty"`
	OnBuild      []string            `json:",omitempty"`
	Labels       map[string]string   `json:",omitempty"`
	StopSignal   string              `json:",omitempty"`
	Shell        stringList          `json:",omitempty"`
}

// GraphDriver says where the layers are. In Data, LowerDir and UpperDir are those of
// overlayfs.
type GraphDriver struct {
	Data map[string]string
	Name string
}

// DescribedRootFS lists the layers' diffIDs, the lowest first.
type DescribedRootFS struct {
	Type   string
	Layers []string
}

// Descriptor is the entry of the image in the store's index.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// describedFile is the configuration of an image, with the parts that are only for people
// to read.
type describedFile struct {
	Created      string         `json:"created,omitempty"`
	Author       string         `json:"author,omitempty"`
	Comment      string         `json:"comment,omitempty"`
	Architecture string         `json:"architecture"`
	Variant      string         `json:"variant,omitempty"`
	OS           string         `json:"os"`
	Config       ImageConfig    `json:"config"`
	RootFS       rootFS         `json:"rootfs"`
	History      []historyEntry `json:"history,omitempty"`
}

type historyEntry struct {
	Created    *time.Time `json:"created,omitempty"`
	CreatedBy  string     `json:"created_by,omitempty"`
	Author     string     `json:"author,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// Describe describes an image of the store. It returns [ErrNotFound] if there is none.
func (s *Store) Describe(ref, platform string) (*Description, error) {
	x, d, config, err := s.read(ref, platform)
	if err != nil {
		return nil, err
	}
	info, err := s.info(d)
	if err != nil {
		return nil, readError(d, err)
	}
	described := &Description{
		ID: info.ID, RepoTags: []string{}, RepoDigests: []string{}, Created: config.Created, Author: config.Author,
		Config: config.Config, Architecture: config.Architecture, Variant: config.Variant, Os: config.OS, Size: info.Size,
		RootFS:     DescribedRootFS{"layers", config.RootFS.DiffIDs},
		Descriptor: Descriptor{string(d.MediaType), d.Digest.String(), d.Size},
	}
	if described.Comment = config.Comment; len(config.History) > 0 && described.Comment == "" {
		described.Comment = config.History[len(config.History)-1].Comment
	}
	for _, other := range x.Manifests {
		if other.Annotations[annotationID] == info.ID && !other.isNameless() {
			described.addName(&other)
		}
	}
	slices.Sort(described.RepoTags)
	slices.Sort(described.RepoDigests)
	var dirs []string // the highest first
	for _, diffID := range slices.Backward(config.RootFS.DiffIDs) {
		dirs = append(dirs, s.layer(diffID))
	}
	described.GraphDriver = GraphDriver{Name: "overlay", Data: map[string]string{}}
	if len(dirs) > 0 {
		described.GraphDriver.Data["UpperDir"] = dirs[0]
	}
	if len(dirs) > 1 {
		described.GraphDriver.Data["LowerDir"] = strings.Join(dirs[1:], ":")
	}
	return described, nil
}

func (described *Description) addName(d *descriptor) {
	name := d.name()
	if repository, _, pinned := strings.Cut(name, "@"); !pinned {
		described.RepoTags = append(described.RepoTags, name)
	} else if !slices.Contains(described.RepoDigests, name) {
		described.RepoDigests = append(described.RepoDigests, repository+"@"+d.Digest.String())
	}
	if digest := d.Annotations[annotationIndex]; digest != "" {
		described.RepoDigests = append(described.RepoDigests, repositoryOf(name)+"@"+digest)
	}
	slices.Sort(described.RepoDigests)
	described.RepoDigests = slices.Compact(described.RepoDigests)
}

// read returns the store's index, the entry that a reference means, and its
// configuration.
func (s *Store) read(ref, platform string) (*index, *descriptor, *describedFile, error) {
	r, err := newRequest(ref, ResolveOptions{Platform: platform})
	if err != nil {
		return nil, nil, nil, err
	}
	x, err := s.readIndex()
	if err != nil {
		return nil, nil, nil, err
	}
	d, err := x.one(r)
	if err != nil {
		return nil, nil, nil, &Error{Op: "image " + ref, Err: err}
	}
	m, _, err := s.readManifest(d.Digest.String())
	if err != nil {
		return nil, nil, nil, readError(d, err)
	}
	data, err := s.readBlob(m.Config.Digest.String())
	if err != nil {
		return nil, nil, nil, err
	}
	var config describedFile
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, nil, nil, &Error{Op: "image " + ref, Err: fmt.Errorf("image configuration: %w", explainType(err))}
	}
	return x, d, &config, nil
}

// HistoryStep is a step in which an image was made.
type HistoryStep struct {
	ID        string    `json:"id"` // the image's, for the last step
	Layer     string    `json:"layer,omitempty"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Size      int64     `json:"size"` // bytes of the layer's tar
	Comment   string    `json:"comment,omitempty"`
}

// History returns the steps in which an image of the store was made, the last first.
// Layers that the image's history leaves out have steps too.
func (s *Store) History(ref, platform string) ([]HistoryStep, error) {
	_, d, config, err := s.read(ref, platform)
	if err != nil {
		return nil, err
	}
	steps := []HistoryStep{}
	layers := config.RootFS.DiffIDs
	for _, h := range config.History {
		step := HistoryStep{CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			step.Created = *h.Created
		}
		if !h.EmptyLayer && len(layers) > 0 {
			step.Layer, layers = layers[0], layers[1:]
		}
		steps = append(steps, step)
	}
	for _, layer := range layers {
		steps = append(steps, HistoryStep{Layer: layer})
	}
	for i := range steps {
		if steps[i].Layer != "" {
			steps[i].Size, _ = layerNote(s.layer(steps[i].Layer))
		}
	}
	slices.Reverse(steps)
	if len(steps) > 0 {
		steps[0].ID = d.Annotations[annotationID]
	}
	return steps, nil
}
