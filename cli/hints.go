package cli

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/rootfs"
	"github.com/minirun/minirun/seccomp"
	"github.com/minirun/minirun/seccomp/analyze"
	"github.com/minirun/minirun/seccomp/bpf"
	"github.com/minirun/minirun/seccomp/live"
)

// hintOf returns what the user can do about an error, or "": the error's own hint, or one
// with flags and verbs, which the packages below do not know.
func hintOf(err error) string {
	var usage *usageError
	if text := hint.Text(err); text != "" {
		return text
	}
	if errors.As(err, &usage) {
		return usage.hint
	}
	var of *containerError
	if errors.As(err, &of) && of.hint != "" {
		return of.hint
	}
	return cmp.Or(launchHint(err), imageHint(err), seccompHint(err))
}

// launchHint returns the hint for an error of package launcher, or "".
func launchHint(err error) string {
	var failed *launcher.Error
	var volume *launcher.VolumeError
	var damaged *launcher.DamagedError
	switch {
	case errors.As(err, &failed) && failed.Cause != 0:
		return causeHint(failed.Cause)
	case errors.As(err, &damaged):
		return "'minirun rm -f " + printable(damaged.Name) + "' removes the container"
	case errors.As(err, &volume):
		return "a mount of your own takes its place: -v HOST:" + volume.Path + " or --tmpfs " + volume.Path
	}
	return ""
}

func causeHint(cause launcher.Cause) string {
	switch cause {
	case launcher.CauseCgroup:
		return "one that another program has left can be removed with rmdir(1)"
	case launcher.CauseDevice:
		return "see --device"
	case launcher.CauseEnterWorkdir:
		return "see --workdir and --user"
	case launcher.CauseHostname:
		return "a host name has up to 64 characters; see --hostname"
	case launcher.CauseIgnored:
		return "press ^C three times within a second to kill the container; with --init the first one ends the command"
	case launcher.CauseIgnoredTwice:
		return "--init runs the command under a PID 1 that passes signals on"
	case launcher.CauseJoinCgroup:
		return "'minirun doctor' says what this machine has of cgroups"
	case launcher.CauseKernel:
		return "run Linux 5.12 or later; 'minirun doctor' says what this kernel lacks"
	case launcher.CauseLimits:
		return "see --memory, --cpus and --pids-limit; 'minirun doctor' lists this machine's controllers"
	case launcher.CauseListener:
		return "it needs Linux 5.7; leave out --explain and --complain"
	case launcher.CauseMemory:
		return "raise --memory"
	case launcher.CauseNoTerminal:
		return "leave out -t when input comes from a pipe or file"
	case launcher.CauseNotRunning:
		return "'minirun ps' lists those that run"
	case launcher.CauseOwnIDs:
		return "give the container more: --userns auto:size=N"
	case launcher.CausePidfd:
		return "leave out --explain-filter, --complain and --record, which need it; 'minirun doctor', pidfd_getfd, says what forbids it"
	case launcher.CauseRunRoot:
		if isUsers() && os.Getenv("XDG_RUNTIME_DIR") != "" {
			return "unset XDG_RUNTIME_DIR if it is another user's, as after su; or choose another directory with --run-root"
		}
		return "choose another directory with --run-root"
	case launcher.CauseSysctl:
		return "see --sysctl"
	case launcher.CauseSystemd:
		return "--cgroup-manager cgroupfs works without systemd"
	case launcher.CauseUserIDs:
		return "see 'minirun doctor', user ids"
	case launcher.CauseWorkdir:
		return "see --workdir"
	}
	return ""
}

// imageHint returns the hint for an error of package rootfs, or "".
func imageHint(err error) string {
	var e *rootfs.Error
	for errors.As(err, &e) && e.Cause == 0 {
		err, e = e.Err, nil
	}
	if e == nil {
		return ""
	}
	switch e.Cause {
	case rootfs.CauseBootstrapRoot:
		return "sudo minirun bootstrap " + e.Name
	case rootfs.CauseDamaged:
		return damageHint(e.Name, true)
	case rootfs.CauseDamagedHere:
		return damageHint(e.Name, false)
	case rootfs.CauseDebian:
		return "'minirun bootstrap " + e.Name + "' makes it from Debian's package mirrors"
	case rootfs.CauseDistribution:
		return "minirun bootstrap debian[:SUITE]"
	case rootfs.CauseFileSystem:
		return "the file system of " + e.Name + " may lack what overlayfs needs; choose a directory on ext4, xfs, btrfs or tmpfs with --root"
	case rootfs.CauseUserIDs:
		return "see 'minirun doctor', user ids"
	case rootfs.CauseTooLarge:
		return "if that is what it should have, raise --max-size or --max-files of 'minirun pull', 'load' or 'import'"
	case rootfs.CauseFull:
		return "remove images with 'minirun rmi', or keep the store on a larger disk with --root"
	case rootfs.CauseHostRoot:
		return "run it with sudo, or bind what you need: -v /usr:/usr:ro"
	case rootfs.CauseIndex:
		return "remove " + e.Name + ", and pull, load or import the images again"
	case rootfs.CauseInPlace:
		return "run it: minirun run " + e.Name + " COMMAND"
	case rootfs.CauseManyRepositories:
		return "'minirun rmi -f' removes them all; 'minirun rmi NAME' removes one"
	case rootfs.CauseNoImage:
		return "'minirun images' lists the images of the store"
	case rootfs.CauseNoLayers:
		return "choose a directory on ext4, xfs, btrfs or tmpfs with --root"
	case rootfs.CauseNotFetched:
		return "'minirun pull " + e.Name + "' fetches it"
	case rootfs.CauseOnOverlay:
		return e.Name + " is on an overlay, which cannot hold another; choose a directory on ext4, xfs, btrfs or tmpfs with --root"
	case rootfs.CauseOtherPlatform:
		return "'minirun pull --platform " + e.Platform + " " + e.Name + "' fetches it"
	case rootfs.CausePlatform:
		return "write for example --platform linux/arm64"
	case rootfs.CauseRootTarball:
		return "'minirun import FILE NAME' makes an image of a root file system"
	case rootfs.CauseStore:
		if isUsers() {
			return "see whether HOME and XDG_DATA_HOME are yours, or choose another directory with --root"
		}
		return "choose another directory with --root"
	}
	return ""
}

// damageHint says what to do about a damaged image.
func damageHint(name string, canPull bool) string {
	again := "load, import or bootstrap it again"
	if canPull {
		again = "'minirun pull " + name + "' fetches what has changed"
	}
	return again + "; 'minirun rmi " + name + "' removes it"
}

// seccompHint returns the hint for an error of the packages of seccomp, or "".
func seccompHint(err error) string {
	var problems seccomp.Problems
	var problem *seccomp.Problem
	var edit *seccomp.EditError
	var call *analyze.CallError
	var intricate *bpf.IntricateError
	var process *live.Error
	switch {
	case errors.As(err, &problems) && len(problems) == 1:
		return problemHint(problems[0].Fix, problems[0].Cause)
	case errors.As(err, &problem):
		return problemHint(problem.Fix, problem.Cause)
	case errors.As(err, &edit):
		return edit.Fix
	case errors.As(err, &call):
		return call.Fix
	case errors.As(err, &intricate):
		return "read it: 'minirun seccomp dump PID' prints the filters of a process, 'seccomp show' what a profile gives"
	case errors.As(err, &process):
		return process.Fix
	}
	return ""
}

// problemHint returns the hint for a problem of a profile.
func problemHint(fix string, cause seccomp.Cause) string {
	switch cause {
	case seccomp.CauseEmpty:
		return "start from 'minirun seccomp edit'"
	case seccomp.CauseEmptyObject:
		return "Docker takes {} as no filter at all; say --seccomp unconfined if that is what you want"
	case seccomp.CauseNoFilter:
		return "say --seccomp unconfined if that is what you want"
	case seccomp.CauseDockerKey:
		return "'minirun seccomp show' makes a flat list of a profile of Docker's"
	}
	return fix
}

// errnoHint returns a hint for errors of system calls that can occur anywhere and depend on
// the state of the machine, or "".
func errnoHint(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	switch errno {
	case syscall.ENOSPC, syscall.EDQUOT:
		var path *fs.PathError
		if errors.As(err, &path) && path.Path == os.Stdout.Name() {
			return "free space where standard output goes"
		}
		return "the disk is full: 'minirun rmi' frees space, --root DIR keeps images and containers elsewhere"
	case syscall.EFBIG:
		return "raise the limit on the size of files: ulimit -f unlimited"
	case syscall.ENAMETOOLONG:
		return "choose a shorter name"
	case syscall.EROFS:
		return "the file system is read-only: --root DIR and --run-root DIR keep images and containers elsewhere"
	case syscall.EMFILE, syscall.ENFILE:
		return "raise the limit on open files: ulimit -n 1024"
	case syscall.EACCES, syscall.EPERM:
		if os.Geteuid() != 0 {
			return "run it with sudo"
		}
		if held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_ADMIN, 0, 0, 0); err == nil && held == 0 {
			return "minirun lacks CAP_SYS_ADMIN here, as in a container without --privileged"
		}
	case syscall.ENOMEM:
		return "free some memory"
	case syscall.EAGAIN:
		return "raise the limit on processes (ulimit -u), or end some"
	}
	return ""
}
