package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/rootfs"
)

func (a *app) inspectCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "inspect",
		Usage:     "describe images, as JSON",
		ArgsUsage: "IMAGE...",
		Description: `The fields are those of 'docker image inspect'. GraphDriver has the directories of
the layers.`,
		Flags: []ucli.Flag{
			text("", "format", "f", "print `FORMAT`: json or a template such as '{{.Id}} {{json .Config.Cmd}}'").with(oneOf("json")),
			text("", "platform", "", "describe the image for `OS/ARCH[/VARIANT]`").with(platforms),
		},
		Action: a.inspectAction,
	}
}

func (a *app) inspectAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	format := c.String("format")
	if format != "" && format != "json" && !strings.Contains(format, "{{") {
		return &usageError{"--format " + format + ": unknown format", "use json or a template such as '{{.Id}}'"}
	}
	return a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		found := []*rootfs.Description{}
		var failed []error
		for _, name := range c.Args().Slice() {
			d, err := store.Describe(name, c.String("platform"))
			if err != nil {
				failed = append(failed, a.orContainer(c, name, err))
				continue
			}
			for i := range d.RepoTags {
				d.RepoTags[i] = familiar(d.RepoTags[i])
			}
			for i := range d.RepoDigests {
				d.RepoDigests[i] = familiar(d.RepoDigests[i])
			}
			found = append(found, d)
		}
		return errors.Join(a.writeDescriptions(found, format), errors.Join(failed...))
	})
}

// orContainer adds to the error for an image that does not exist what describes a container
// of that name.
func (a *app) orContainer(c *ucli.Context, name string, err error) error {
	if !errors.Is(err, rootfs.ErrNotFound) {
		return err
	}
	if _, failed := a.findContainer(c, name); failed != nil {
		return err
	}
	return hint.With(fmt.Errorf("%s is a container: inspect describes images", name), "'minirun ps -a --no-trunc --format json --filter name="+name+"' describes it")
}

func (a *app) writeDescriptions(found []*rootfs.Description, format string) error {
	var out bytes.Buffer
	switch format {
	case "":
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "    ") // as Docker does
		if err := e.Encode(found); err != nil {
			return err
		}
	case "json":
		line, err := jsonText(found)
		if err != nil {
			return err
		}
		out.WriteString(line + "\n")
	default:
		for _, d := range found {
			if err := executeDescription(&out, format, d); err != nil {
				return err
			}
		}
	}
	_, err := a.stdout.Write(out.Bytes())
	return err
}

// executeDescription executes a template. As with Docker its fields are those of the
// Go type (.ID) or, where that fails, of the JSON (.Id).
func executeDescription(w io.Writer, format string, d *rootfs.Description) error {
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err = t.Execute(&out, d); err != nil {
		var fields map[string]any
		data, failed := json.Marshal(d)
		if failed = cmp.Or(failed, json.Unmarshal(data, &fields)); failed != nil {
			return failed
		}
		out.Reset()
		if err := t.Option("missingkey=error").Execute(&out, fields); err != nil {
			return templateError(format, err)
		}
	}
	_, err = w.Write(out.Bytes())
	return err
}
