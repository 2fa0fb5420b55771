package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	ucli "github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/minirun/minirun/rootfs"
)

func (a *app) saveCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "save",
		Usage:     "write images to a tarball",
		ArgsUsage: "IMAGE...",
		Description: `The tarball is both what 'docker load' reads and an OCI layout. Images keep their IDs.
A name without a tag is all tags of that name.`,
		Flags: []ucli.Flag{
			text("", "output", "o", "write to `FILE` instead of standard output").with(files()),
			text("", "platform", "", "save the image for `OS/ARCH[/VARIANT]`").with(platforms),
		},
		Action: a.saveAction,
	}
}

func (a *app) saveAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, -1); err != nil {
		return err
	}
	output := c.String("output")
	if output == "" && term.IsTerminal(int(a.stdout.Fd())) {
		return &usageError{"save: standard output is a terminal", "write to a file with -o FILE, or to a pipe"}
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		write := func(w io.Writer) error {
			return store.Save(ctx, w, rootfs.ResolveOptions{Platform: c.String("platform"), Warn: a.warned}, c.Args().Slice()...)
		}
		if output == "" {
			return write(a.stdout)
		}
		return streamFile(output, write)
	})
}

// streamFile makes or replaces a file once write has written everything. A file that is not
// regular, such as a FIFO, is written to.
func streamFile(file string, write func(io.Writer) error) error {
	real, err := realFile(file)
	if err != nil {
		return fileError("write", file, err)
	}
	file = real
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return fileError("write", file, err)
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return fileError("write", file, err)
	}
	err = write(f)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func (a *app) loadCommand() *ucli.Command {
	return &ucli.Command{
		Name:  "load",
		Usage: "add the images of a tarball to the store, under their names",
		Description: `Reads what 'docker save', 'minirun save' and other tools write, compressed or not, and
OCI layouts. 'minirun import' reads the tarball of a root file system.`,
		Flags: []ucli.Flag{
			text("", "input", "i", "read `FILE`, or the directory of an OCI layout, instead of standard input").with(files()),
			maxSizeFlag(), maxFilesFlag(),
			text("", "platform", "", "load the image for `OS/ARCH[/VARIANT]`").with(platforms),
			toggle("", "quiet", "q", "show no progress"),
		},
		Action: a.loadAction,
	}
}

func (a *app) loadAction(c *ucli.Context) error {
	if c.NArg() > 0 {
		return &usageError{"load: unexpected argument: " + c.Args().First(), "write 'minirun load -i FILE'"}
	}
	input := c.String("input")
	if _, err := os.Stat(input); err != nil && input != "" {
		return fileError("load", input, err)
	}
	limits, err := imageLimits(c)
	if err != nil {
		return err
	}
	if input == "" && term.IsTerminal(int(a.stdin.Fd())) {
		return &usageError{"load: standard input is a terminal", "name the tarball with -i FILE"}
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		name := input
		if name == "" {
			name = "standard input"
		}
		report, done := a.progress(name, c.Bool("quiet"))
		o := rootfs.ResolveOptions{Platform: c.String("platform"), Progress: report, Limits: limits, Warn: a.warned}
		var images []rootfs.ImageInfo
		var err error
		if input != "" {
			images, err = store.Load(ctx, input, o)
		} else {
			images, err = store.LoadFrom(ctx, a.stdin, o)
		}
		done(err)
		for _, image := range images {
			line := "Loaded image: " + familiar(image.Name)
			if strings.HasPrefix(image.Name, "sha256:") {
				line = "Loaded image ID: " + image.Name
			}
			if _, failed := fmt.Fprintln(a.stdout, printable(line)); failed != nil {
				return failed
			}
		}
		return err
	})
}

func (a *app) importCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "import",
		Usage:     "make an image of the tarball of a root file system",
		ArgsUsage: "FILE|- [NAME[:TAG]]",
		Description: `Prints the image's ID. FILE may be compressed; - is standard input. Changes are
instructions of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL,
USER, VOLUME and WORKDIR.`,
		Flags: []ucli.Flag{
			list("", "change", "c", "apply `INSTRUCTION` to the image: 'CMD [\"bash\"]'"),
			maxSizeFlag(), maxFilesFlag(),
			text("", "message", "m", "set the comment in the image's history to `TEXT`"),
			text("", "platform", "", "make an image for `OS/ARCH[/VARIANT]`").with(platforms),
			toggle("", "quiet", "q", "show no progress"),
		},
		Action: a.importAction,
	}
}

func (a *app) importAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 2); err != nil {
		return err
	}
	file, stream := c.Args().First(), a.stdin
	name := file
	switch {
	case strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://"):
		return &usageError{"import " + file + ": minirun downloads no files", "curl -fsSL " + file + " | minirun import - NAME"}
	case file == "-" && term.IsTerminal(int(a.stdin.Fd())):
		return &usageError{"import -: standard input is a terminal", "name a tarball"}
	case file == "-":
		name = "standard input"
	default:
		f, err := os.Open(file)
		if err != nil {
			return fileError("import", file, err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.IsDir() {
			return &usageError{"import " + file + ": is a directory", "tar -C " + shellWord(file) + " -c . | minirun import - NAME"}
		}
		stream = f
	}
	limits, err := imageLimits(c)
	if err != nil {
		return err
	}
	message := c.String("message")
	if !c.IsSet("message") {
		message = "Imported from -" // as docker's client does, whatever the file
	}
	return a.withStore(c, func(ctx context.Context, store *rootfs.Store) error {
		report, done := a.progress(name, c.Bool("quiet"))
		info, err := store.Import(ctx, stream, rootfs.ImportOptions{
			File: name, Name: c.Args().Get(1), Changes: c.StringSlice("change"), Message: message,
			Platform: c.String("platform"), Progress: report, Limits: limits, Warn: a.warned,
		})
		done(err)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, info.ID)
		return err
	})
}
