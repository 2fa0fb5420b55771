package cli

import (
	"strings"
	"text/template"

	"github.com/minirun/minirun/launcher"
)

// logTag has the fields of the template of --log-opt tag=, those of Docker's documentation
// (https://docs.docker.com/engine/logging/log_tags/).
type logTag struct {
	ID, FullID, Name, ImageID, ImageFullID, ImageName, DaemonName string
}

// execute returns the tag. A container that is renamed while it runs keeps it.
func (t logTag) execute(text string) (string, error) {
	parsed, err := template.New("").Funcs(templateFunctions()).Parse(text)
	if err != nil {
		return "", tagError(text, err)
	}
	var tag strings.Builder
	if err := parsed.Execute(&tag, t); err != nil {
		return "", tagError(text, err)
	}
	return tag.String(), nil
}

func tagError(text string, err error) error {
	return &usageError{"--log-opt tag=" + text + ": " + templateProblem(err), "the fields are .ID .FullID .Name .ImageID .ImageFullID .ImageName and .DaemonName"}
}

// noteTag records the tag of the log of a launch.
func (l *launch) noteTag(container *launcher.Container) (err error) {
	if l.detached == nil || l.detached.tag == "" {
		return nil
	}
	id, image := container.ID(), l.image.ID
	l.o.About.LogTag, err = logTag{
		ID: id[:12], FullID: id, Name: container.Name(),
		ImageID: image[:min(len(image), 12)], ImageFullID: image, ImageName: l.o.About.Image, DaemonName: "minirun",
	}.execute(l.detached.tag)
	return err
}
