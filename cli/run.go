package cli

import (
	"errors"

	ucli "github.com/urfave/cli/v2"
)

// runAction runs a command in a new container.
func (a *app) runAction(c *ucli.Context) error {
	return errors.New("run: not yet")
}
