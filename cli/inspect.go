package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) inspectCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "inspect",
		Usage:     "describe containers and images, as JSON",
		ArgsUsage: "CONTAINER|IMAGE...",
		Description: `The fields are those of 'docker inspect'. A container also has Seccomp, with its profile,
and Capabilities, its bounding set; an image's GraphDriver has the directories of its
layers. A name that both have is the container's. The exit status is 1 if something
does not exist.`,
		Flags: []ucli.Flag{
			text("", "format", "f", "print `FORMAT`: json or a template such as '{{.Id}} {{json .Config.Cmd}}'").with(oneOf("json")),
			text("", "type", "", "look only for a `TYPE`: container or image").with(oneOf("container", "image")),
			toggle("", "size", "s", "add SizeRw and SizeRootFs to containers: how large the files are that they have changed, and all"),
			text("", "platform", "", "describe the image for `OS/ARCH[/VARIANT]`").with(platforms),
		},
		Action: a.inspectAction,
	}
}

func (a *app) inspectAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	format, kind := c.String("format"), c.String("type")
	switch {
	case format != "" && format != "json" && !strings.Contains(format, "{{"):
		return &usageError{"--format " + format + ": unknown format", "use json or a template such as '{{.Id}}'"}
	case kind != "" && kind != "container" && kind != "image":
		return &usageError{"--type " + kind + ": unknown type", "use container or image"}
	}
	if c.Bool("size") {
		if err := enter(c); err != nil { // outside of the namespace a user may not read all files
			return err
		}
	}
	found := []any{}
	var failed []error
	for _, name := range c.Args().Slice() {
		d, err := a.describe(c, name, kind)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		found = append(found, d)
	}
	return errors.Join(a.writeDescriptions(found, format), errors.Join(failed...))
}

// describe describes a container or an image. As with docker, a name is looked for among
// the containers first.
func (a *app) describe(c *ucli.Context, name, kind string) (any, error) {
	if kind != "image" && c.String("platform") == "" {
		container, err := a.findContainer(c, name)
		if err == nil {
			return describeContainer(container, c.Bool("size"))
		}
		if kind == "container" || !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	d, err := a.describeImage(c, name)
	switch {
	case !errors.Is(err, rootfs.ErrNotFound):
		return d, err
	case kind == "image":
		return nil, &containerError{err: err}
	}
	return nil, refused("'minirun ps -a' lists the containers, and 'minirun images' the images", "no such object: %s", printable(name))
}

func (a *app) describeImage(c *ucli.Context, name string) (d *rootfs.Description, err error) {
	err = a.withStore(c, func(_ context.Context, store *rootfs.Store) error {
		if d, err = store.Describe(name, c.String("platform")); err != nil {
			return err
		}
		for i := range d.RepoTags {
			d.RepoTags[i] = familiar(d.RepoTags[i])
		}
		for i := range d.RepoDigests {
			d.RepoDigests[i] = familiar(d.RepoDigests[i])
		}
		return nil
	})
	return d, err
}

func (a *app) writeDescriptions(found []any, format string) error {
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
func executeDescription(w io.Writer, format string, d any) error {
	t, err := parseTemplate(format)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err = t.Execute(&out, d); err != nil {
		var fields map[string]any
		data, failed := json.Marshal(d)
		numbers := json.NewDecoder(bytes.NewReader(data))
		numbers.UseNumber() // or large ones have an exponent
		if failed = cmp.Or(failed, numbers.Decode(&fields)); failed != nil {
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
