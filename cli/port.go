package cli

import (
	"fmt"
	"strings"

	ucli "github.com/urfave/cli/v2"
)

func (a *app) portCommand() *ucli.Command {
	return &ucli.Command{
		Name:        "port",
		Usage:       "list the published ports of a container",
		ArgsUsage:   "CONTAINER [PORT[/PROTOCOL]]",
		Description: `With a port of the container it prints where the host listens for it.`,
		Action:      a.portAction,
	}
}

func (a *app) portAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 2); err != nil {
		return err
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	v, asked, found := a.newContainerView(container), c.Args().Get(1), false
	wanted := asked
	if wanted != "" && !strings.Contains(wanted, "/") {
		wanted += "/tcp"
	}
	var lines []string
	for _, p := range v.launch.Ports {
		switch host, port, _ := strings.Cut(p, "->"); {
		case !v.runs():
		case wanted == "":
			lines = append(lines, port+" -> "+host)
		case port == wanted:
			lines, found = append(lines, host), true
		}
	}
	if wanted != "" && !found {
		return refused("'minirun port "+v.Name+"' lists those that are", "no public port '%s' published for %s", printable(asked), printable(c.Args().First()))
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
	}
	return nil
}
