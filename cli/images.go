package cli

import ucli "github.com/urfave/cli/v2"

func (a *app) pullCommand() *ucli.Command {
	return &ucli.Command{Name: "pull", Usage: "fetch an image from a registry", ArgsUsage: "IMAGE"}
}

func (a *app) imagesCommand() *ucli.Command {
	return &ucli.Command{Name: "images", Usage: "list the images that are here"}
}

func (a *app) rmiCommand() *ucli.Command {
	return &ucli.Command{Name: "rmi", Usage: "remove images", ArgsUsage: "IMAGE..."}
}

func (a *app) bootstrapCommand() *ucli.Command {
	return &ucli.Command{Name: "bootstrap", Usage: "make an image from a distribution's packages", ArgsUsage: "debian[:SUITE]"}
}
