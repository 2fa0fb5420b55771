// What the Go runtime would do beside, twice for each start: name its memory by
// prctl(2), where the kernel has CONFIG_ANON_VMA_NAME, and read its cgroup's limits,
// at the start and again and again.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Minirun launches a container: one command, no daemon.
package main

import (
	"os"

	"github.com/minirun/minirun/cli"
	"github.com/minirun/minirun/launcher"
)

func main() {
	if launcher.IsInit() {
		launcher.Init() // does not return
	}
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
