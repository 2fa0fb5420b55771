package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	json "github.com/go-json-experiment/json/v1"
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/seccomp/compile"
)

func (c *command) specCommand() *ucli.Command {
	return &ucli.Command{
		Name: "spec", Usage: "write a config.json to start from",
		Flags: []ucli.Flag{
			&ucli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "into `DIR`"},
			&ucli.BoolFlag{Name: "rootless", Usage: "for a container that an ordinary user starts"},
		},
		Action: func(ctx *ucli.Context) error {
			if err := checkArgs(ctx, 0, 0); err != nil {
				return err
			}
			data, err := json.MarshalIndent(launcher.ExampleSpec(ctx.Bool("rootless")), "", "\t")
			if err != nil {
				return err
			}
			name := filepath.Join(ctx.String("bundle"), configFile)
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("file %s exists: remove it first", name)
			}
			if err != nil {
				return err
			}
			_, err = f.Write(data)
			return errors.Join(err, f.Close())
		},
	}
}

func (c *command) featuresCommand() *ucli.Command {
	return &ucli.Command{
		Name: "features", Usage: "print what the runtime can do as JSON (features.md of the runtime specification)",
		Action: func(ctx *ucli.Context) error {
			if err := checkArgs(ctx, 0, 0); err != nil {
				return err
			}
			f := launcher.Features()
			f.Annotations = map[string]string{
				"org.minirun.version":                        c.version,
				"io.github.seccomp.libseccomp.version":       compile.LibraryVersion(),
				"org.opencontainers.runc.checkpoint.enabled": "false",
			}
			enc := json.NewEncoder(c.stdout)
			enc.SetIndent("", "    ")
			return enc.Encode(f)
		},
	}
}
