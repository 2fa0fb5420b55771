// These switch off work that the Go runtime would do in each of the two processes of a
// start: it names its memory by prctl(2), where the kernel has CONFIG_ANON_VMA_NAME, and
// reads its cgroup's limits at the start and from time to time.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Minirun launches a container: one command, no daemon.
//
// What starts a process of this binary decides which role it has. Six roles take over
// in C, before the Go runtime starts, and never get to main:
//
//	reaper     PID 1 of --init, run from a memfd: launcher/reaper.c
//	guard      a fork of the launcher that ends the container if the launcher is killed:
//	           launcher/guard.c
//	waiter     the launcher itself, by execve(2), while its container runs: launcher/wait.c
//	repeater   the launcher, of a launch that has been kept: launcher/kept.c; then waiter
//	plan init  a container's init that carries out a plan: launcher/arm/plan.c
//	call       an engine's start, kill or delete of a usual container: launcher/engine.c
//
// A constructor makes a user's process root of a user namespace (launcher/userns/enter.c):
// where the launch is a plain one at once, else when the program begins a second time.
//
// main has the others: a container's init by libcontainer, and the command line. When
// this init gets to main, C constructors have joined the cgroups (launcher/arm/join.c)
// and entered the namespaces (libcontainer's nsenter).
package main

import (
	"os"

	"github.com/minirun/minirun/cli"
	"github.com/minirun/minirun/launcher/arm"
)

func main() {
	switch {
	case arm.IsInit():
		arm.Init()
	default:
		os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
}
