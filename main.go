// What the Go runtime would do beside, twice for each start: name its memory by
// prctl(2), where the kernel has CONFIG_ANON_VMA_NAME, and read its cgroup's limits,
// at the start and again and again.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Minirun launches a container: one command, no daemon.
//
// Its binary has four roles. What starts a process decides which one that has:
//
//	reaper  PID 1 of --init, run from a memfd. The C constructor of launcher/reaper.c
//	        takes over before the Go runtime starts
//	guard   a fork of the launcher that ends the container should the launcher be
//	        killed. It stays in launcher/guard.c and never gets here
//	init    a container's init, which becomes the command. C constructors join the
//	        cgroups (launcher/arm/join.c) and enter the namespaces (libcontainer's
//	        nsenter); then arm.Init goes on from main
//	cli     everything else
package main

import (
	"os"

	"github.com/minirun/minirun/cli"
	"github.com/minirun/minirun/launcher/arm"
)

func main() {
	arm.Init() // which returns in no container's init
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
