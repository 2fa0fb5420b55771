// Minirun launches a container: one command, no daemon.
package main

import (
	"os"

	"github.com/minirun/minirun/cli"
	"github.com/minirun/minirun/launcher"
)

func main() {
	if launcher.IsInit(os.Args) {
		launcher.Init() // does not return
	}
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
