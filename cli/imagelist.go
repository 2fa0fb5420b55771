package cli

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) imagesCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "images",
		Usage:     "list the images of the store",
		ArgsUsage: "[NAME[:TAG]]",
		Description: `With NAME only images of that name are listed; * and ? match any characters except /.
Filters are dangling=true, before=IMAGE, since=IMAGE, label=KEY[=VALUE] and
reference=PATTERN, which is like NAME.

A template is one of Go's text/template, with the fields .Name .Repository .Tag .ID
.Digest .Platform .CreatedAt .CreatedSince .Size and .Labels; 'table TEMPLATE' prints
a heading too.`,
		Flags: []ucli.Flag{
			choice("", "format", "text", "print `FORMAT`: text, json or a template such as '{{.Name}}'").with(oneOf("text", "json")),
			toggle("", "quiet", "q", "print only the images' IDs, each once"),
			toggle("", "no-trunc", "", "print whole IDs"),
			toggle("", "digests", "", "print the manifests' digests"),
			list("", "filter", "f", "list only images that match `FILTER`").with(oneOf("before=", "dangling=true", "label=", "reference=", "since=")),
			toggle("", "all", "a", "accepted; all images are always listed"),
		},
		Action: a.imagesAction,
	}
}

func (a *app) imagesAction(c *ucli.Context) error {
	if err := checkArgs(c, 0, 1); err != nil {
		return err
	}
	list := imageList{now: time.Now(), whole: c.Bool("no-trunc")}
	write, err := list.listing(c.Bool("digests")).writer(c.String("format"))
	if err != nil {
		return err
	}
	store, err := openStore(c)
	if err != nil {
		return err
	}
	images, err := store.Images()
	if err != nil {
		return err
	}
	if c.NArg() > 0 {
		if images, err = imagesNamed(images, c.Args().First()); err != nil {
			return err
		}
	}
	images, err = filterImages(images, c.StringSlice("filter"), func(name string) (*rootfs.Description, error) { return store.Describe(name, "") })
	if err != nil {
		return err
	}
	for _, image := range images {
		if image.Problem != "" {
			a.ui.warn("image %s cannot be used: %s", familiar(image.Name), image.Problem)
			a.ui.hint(damageHint(familiar(image.Name), image.CanPull))
		}
	}
	if c.Bool("quiet") && c.String("format") != "json" {
		return list.writeIDs(a.stdout, images)
	}
	var rows []imageRow
	for _, image := range images {
		rows = append(rows, list.row(image))
	}
	return write(a.stdout, images, rows)
}

// imagesNamed returns the images that a pattern matches.
func imagesNamed(images []rootfs.ImageInfo, pattern string) ([]rootfs.ImageInfo, error) {
	matches, err := referenceFilter(pattern)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(images, func(image rootfs.ImageInfo) bool { return !matches(image) }), nil
}

// referenceFilter matches images by a pattern for their repository, or repository and tag, as
// `docker images` does. A file may be named by any path to it.
func referenceFilter(pattern string) (imageFilter, error) {
	if strings.HasPrefix(pattern, "./") || strings.HasPrefix(pattern, "../") {
		abs, err := filepath.Abs(pattern)
		if err != nil {
			return nil, err
		}
		pattern = abs
	}
	pattern = familiar(pattern)
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, &usageError{"images " + pattern + ": " + err.Error(), "* matches any characters, ? one, and [abc] one of those"}
	}
	return func(image rootfs.ImageInfo) bool {
		name := familiar(image.Name)
		repository, _ := splitTag(name)
		whole, _ := path.Match(pattern, name)
		part, _ := path.Match(pattern, repository)
		return whole || part || pattern == name
	}, nil
}

// splitTag splits a name. Files and names with a digest have no tag.
func splitTag(name string) (repository, tag string) {
	if repository, _, ok := strings.Cut(name, "@"); ok {
		return repository, ""
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// imageList writes a list of images in one of its forms.
type imageList struct {
	now   time.Time
	whole bool // IDs are not shortened
}

// imageRow has the fields that a template can use, named as those of `docker images`.
type imageRow struct {
	Name, Repository, Tag, ID, Digest, Platform, CreatedAt, CreatedSince, Size string

	Labels map[string]string
}

func (l imageList) row(image rootfs.ImageInfo) imageRow {
	r := imageRow{
		Name: printable(familiar(image.Name)), ID: image.ID, Digest: image.Digest, Platform: printable(image.Platform),
		CreatedAt: "N/A", CreatedSince: "N/A", Labels: image.Labels,
		Size: units.HumanSizeWithPrecision(float64(image.Size), 3),
	}
	if r.Repository, r.Tag = splitTag(r.Name); r.Repository == "sha256" {
		r.Name, r.Repository, r.Tag = "<none>", "<none>", "<none>"
	}
	if !l.whole {
		r.ID = shortID(image.ID)
	}
	if !image.Created.IsZero() {
		r.CreatedAt, r.CreatedSince = image.Created.String(), units.HumanDuration(l.now.Sub(image.Created))+" ago"
	}
	return r
}

// listing returns the forms of the list.
func (l imageList) listing(digests bool) listing[imageRow] {
	table := "{{.Name}}\t{{.ID}}\t{{.Platform}}\t{{.CreatedSince}}\t{{.Size}}"
	if digests {
		table = strings.Replace(table, "{{.ID}}", "{{.Digest}}\t{{.ID}}", 1)
	}
	return listing[imageRow]{table: table, heading: imageRow{
		Name: "IMAGE", Repository: "REPOSITORY", Tag: "TAG", ID: "ID", Digest: "DIGEST", Platform: "PLATFORM",
		CreatedAt: "CREATED AT", CreatedSince: "CREATED", Size: "SIZE",
	}}
}

// writeIDs writes each ID once, so that the list can be given to rmi.
func (l imageList) writeIDs(w io.Writer, images []rootfs.ImageInfo) error {
	seen := map[string]bool{}
	for _, image := range images {
		id := l.row(image).ID
		if seen[id] {
			continue
		}
		seen[id] = true
		if _, err := fmt.Fprintln(w, id); err != nil {
			return err
		}
	}
	return nil
}
