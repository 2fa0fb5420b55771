// These settings switch off work that the Go runtime would do in each of the two processes
// of a start: it would name its memory by prctl(2), where the kernel has
// CONFIG_ANON_VMA_NAME, and read its cgroup's limits at the start and from time to time.
//
//go:debug decoratemappings=0
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Minirun launches a container: one command, no daemon.
//
// The way in which a process of this binary is started decides its role. Six roles take
// over in C, before the Go runtime starts, and never reach main:
//
//	reaper     PID 1 of --init, run from a memfd: launcher/reaper.c
//	guard      a fork of the launcher that ends the container if the launcher is killed:
//	           launcher/guard.c
//	waiter     the launcher itself, by execve(2), while its container runs: launcher/wait.c
//	repeater   the launcher of a repeated launch: launcher/kept.c; then it is the waiter
//	plan init  a container's init that carries out a plan: launcher/arm/plan.c
//	call       an engine's start, state, kill or delete of a usual container: launcher/engine.c
//
// Without root, a constructor makes the process root of a user namespace
// (launcher/userns/enter.c): at once for a plain launch, else when the program is started
// a second time.
//
// main has the other two roles: libcontainer's init of a container, and the command line.
// By the time this init reaches main, C constructors have joined the cgroups
// (launcher/arm/join.c) and entered the namespaces (libcontainer's nsenter).
package main

import (
	"os"

	"github.com/minirun/minirun/cli"
	"github.com/minirun/minirun/internal/startup"
	"github.com/minirun/minirun/launcher/arm"
)

func main() {
	switch {
	case arm.IsInit():
		arm.Init()
	default:
		startup.AllProcessorsLater()
		os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
}
