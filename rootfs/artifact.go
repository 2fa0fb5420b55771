package rootfs

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/minirun/minirun/internal/hint"
)

// artifactManifest is the media type that image-spec 1.1 had for artifacts until its second
// release candidate.
const artifactManifest = "application/vnd.oci.artifact.manifest.v1+json"

// checkFormat returns an error if the answer of a registry is neither the manifest of an
// image nor an index. The error says what it is.
func checkFormat(found *remote.Descriptor) error {
	var m struct {
		SchemaVersion int
		ArtifactType  string
	}
	if err := json.Unmarshal(found.Manifest, &m); err != nil && !found.MediaType.IsSchema1() {
		return &notJSONError{string(found.MediaType)}
	}
	switch {
	case found.MediaType.IsSchema1() || m.SchemaVersion == 1:
		return hint.New("the image is in Docker's old format, schema 1, which minirun does not read",
			"'skopeo copy docker://NAME oci:DIR' converts it; the image is then oci:DIR")
	case found.MediaType == artifactManifest:
		return artifactError(m.ArtifactType)
	}
	return nil
}

// checkKind returns an error for a manifest of something else than a container image,
// such as a Helm chart or a signature (image-spec, manifest.md, "Guidelines for Artifact
// Usage").
func checkKind(m *v1.Manifest) error {
	// Like dockerd, minirun accepts the types that some registries have put in its place.
	if t := m.Config.MediaType; !t.IsConfig() && t != "" && t != "application/octet-stream" {
		return artifactError(cmp.Or(m.ArtifactType, string(m.Config.MediaType)))
	}
	for _, l := range m.Layers {
		t := string(l.MediaType)
		if strings.HasSuffix(t, "+encrypted") {
			return hint.New("the image is encrypted: layer "+l.Digest.String()+" is "+quote(t), "'skopeo copy --decryption-key KEY docker://NAME oci:DIR' decrypts it; the image is then oci:DIR")
		}
		if !l.MediaType.IsLayer() && !strings.Contains(t, "tar") && t != "" && t != "application/octet-stream" {
			return artifactError(t)
		}
	}
	return nil
}

func artifactError(kind string) error {
	if kind == "" {
		return errors.New("it is an artifact, not a container image")
	}
	return fmt.Errorf("it is an artifact of the type %s, not a container image", quote(kind))
}
