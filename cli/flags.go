package cli

import (
	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher/config"
)

// Topics of --help, in its order.
const (
	topicProcess    = "Process"
	topicSecurity   = "Security"
	topicFiles      = "Files"
	topicIsolation  = "Isolation and limits"
	topicImage      = "Image and container"
	topicEverywhere = "Everywhere"
)

var topics = [...]string{topicProcess, topicSecurity, topicFiles, topicIsolation, topicImage, topicEverywhere}

// globalFlags are those that every verb takes, before it or after it.
func globalFlags() []ucli.Flag {
	return []ucli.Flag{
		fromEnv(text(topicEverywhere, "root", "", "keep images and containers in `DIR` (root: /var/lib/minirun; else $XDG_DATA_HOME/minirun)"), "MINIRUN_ROOT").with(files()),
		fromEnv(text(topicEverywhere, "run-root", "", "keep the state of running containers in `DIR` (root: /run/minirun; else $XDG_RUNTIME_DIR/minirun)"), "MINIRUN_RUN_ROOT").with(files()),
		toggle(topicEverywhere, "debug", "D", "say what minirun does, on standard error"),
	}
}

// runFlags are those of a launch, spelled as `docker run` does.
func runFlags() []ucli.Flag {
	return []ucli.Flag{
		toggle(topicProcess, "interactive", "i", "pass standard input on"),
		toggle(topicProcess, "tty", "t", "give the container a terminal"),
		list(topicProcess, "attach", "a", "pass on `STREAM` only: stdin, stdout, stderr").with(oneOf("stdin", "stdout", "stderr")),
		list(topicProcess, "env", "e", "set an environment variable, `NAME[=VALUE]`; without a value, minirun's own").with(variables),
		list(topicProcess, "env-file", "", "set the variables that `FILE` lists").with(files()),
		text(topicProcess, "user", "u", "run as `USER[:GROUP]`, names of the image or numbers").with(userAndGroup),
		list(topicProcess, "group-add", "", "join `GROUP` too").with(groups),
		text(topicProcess, "workdir", "w", "start in `DIR`, made if it is not there"),
		text(topicProcess, "entrypoint", "", "run `COMMAND` instead of the image's entry point"),
		toggle(topicProcess, "init", "", "put a PID 1 in front that passes signals on and reaps"),
		onByDefault(toggle(topicProcess, "sig-proxy", "", "pass signals on; with =false those that end minirun kill the command")),
		text(topicProcess, "stop-signal", "", "pass SIGTERM on as `SIGNAL`, not as the image says"),
		text(topicProcess, "stop-timeout", "", "kill the command if SIGTERM has not ended it after `SECONDS`"),
		list(topicProcess, "ulimit", "", "set a limit, `NAME=SOFT[:HARD]`").with(ulimits),

		text(topicSecurity, "seccomp", "", "filter system calls by `FILE`, default or unconfined; short for --security-opt seccomp=").with(files("default", "unconfined")),
		list(topicSecurity, "seccomp-allow", "", "let the profile allow `NAMES`: system calls and @groups, with commas between").with(callNames),
		list(topicSecurity, "seccomp-deny", "", "let the profile deny `NAMES`").with(callNames),
		list(topicSecurity, "seccomp-gate", "", "let the profile allow names for a capability only, `CAP=NAMES`").with(gates),
		list(topicSecurity, "cap-add", "", "add capability `CAP`, or ALL").with(capabilities),
		list(topicSecurity, "cap-drop", "", "drop capability `CAP`, or ALL").with(capabilities),
		list(topicSecurity, "security-opt", "", "`OPTION` is seccomp=PROFILE, no-new-privileges, apparmor=PROFILE or systempaths=unconfined").with(securityOption),
		toggle(topicSecurity, "privileged", "", "all capabilities, all devices, no filter, nothing masked"),

		list(topicFiles, "volume", "v", "bind `HOST:CONTAINER[:OPTIONS]`, options being ro, rw and the like").with(volume),
		list(topicFiles, "mount", "", "mount `SPEC`: type=bind,source=...,target=... or type=tmpfs,target=...").with(mountSpec),
		list(topicFiles, "tmpfs", "", "put an empty tmpfs at `DIR[:OPTIONS]`"),
		toggle(topicFiles, "read-only", "", "make the root file system read-only"),
		list(topicFiles, "device", "", "give access to device `HOST[:CONTAINER[:rwm]]`, to those of a directory, or to one of CDI, VENDOR/CLASS=NAME").with(files()),
		list(topicFiles, "device-cgroup-rule", "", "allow devices by numbers, `RULE`: 'c 10:* rw'"),
		text(topicFiles, "gpus", "", "give access to GPUs by CDI, `GPUS` being all, how many, or device=NAME").with(oneOf("all")),
		text(topicFiles, "shm-size", "", "let /dev/shm grow to `SIZE`, not 64m"),

		alias(choice(topicIsolation, "network", "none", "`NETWORK` is none, that is a loopback device only, or host; --net for short").with(oneOf(config.Networks()...)), "net"),
		text(topicIsolation, "ipc", "", "share memory and messages with nobody, `MODE` private or none, or with the host: host").with(oneOf(config.IPCs()...)),
		text(topicIsolation, "pid", "", "see the processes of the host with `MODE` host").with(oneOf("host")),
		text(topicIsolation, "uts", "", "have the host's name with `MODE` host").with(oneOf("host")),
		text(topicIsolation, "cgroupns", "", "see the cgroups of the host with `MODE` host, or private").with(oneOf("private", "host")),
		text(topicIsolation, "hostname", "h", "name the container's host `NAME`"),
		text(topicIsolation, "domainname", "", "name its NIS domain `NAME`"),
		list(topicIsolation, "sysctl", "", "set a kernel parameter of the container's namespaces, `NAME=VALUE`"),
		text(topicIsolation, "memory", "m", "limit memory to `SIZE`: 512m, 2g"),
		text(topicIsolation, "memory-swap", "", "limit memory and swap together to `SIZE`; -1 is no limit"),
		text(topicIsolation, "memory-reservation", "", "leave the container `SIZE` when memory is short"),
		text(topicIsolation, "oom-score-adj", "", "be killed earlier when memory is short, or later: `NUMBER` from -1000 to 1000"),
		text(topicIsolation, "cpus", "", "limit processor time to `NUMBER` processors: 1.5"),
		text(topicIsolation, "cpu-quota", "", "limit processor time to `MICROSECONDS` of each period"),
		text(topicIsolation, "cpu-period", "", "let a period have `MICROSECONDS`, not 100000"),
		text(topicIsolation, "cpu-shares", "c", "weigh `NUMBER` against the 1024 of others when processors are short"),
		text(topicIsolation, "cpuset-cpus", "", "run on processors `LIST`: 0-2,4"),
		text(topicIsolation, "cpuset-mems", "", "use memory of nodes `LIST`"),
		text(topicIsolation, "pids-limit", "", "limit processes and threads to `NUMBER`; -1 is no limit"),
		choice(topicIsolation, "cgroup-manager", "cgroupfs", "let `MANAGER` make the cgroup: cgroupfs or systemd").with(oneOf(config.CgroupManagers()...)),
		text(topicIsolation, "cgroup-parent", "", "make the cgroup in `CGROUP`, for systemd a slice"),

		text(topicImage, "name", "", "call the container `NAME`"),
		text(topicImage, "cidfile", "", "write the container's ID to `FILE`, which must not exist").with(files()),
		list(topicImage, "label", "l", "note `KEY=VALUE` on the container"),
		list(topicImage, "label-file", "", "note what `FILE` lists").with(files()),
		list(topicImage, "annotation", "", "note `KEY=VALUE` in the runtime's configuration"),
		choice(topicImage, "pull", "missing", "pull the image `WHEN`: always, missing or never").with(oneOf("always", "missing", "never")),
		text(topicImage, "platform", "", "take the image for `OS/ARCH[/VARIANT]`").with(platforms),
		toggle(topicImage, "quiet", "q", "no progress of a pull"),
		toggle(topicImage, "rm", "", "accepted, and always so: a container's root goes when it ends"),
	}
}

// Flags that know their names: those of urfave/cli work them out with a regular
// expression whenever it looks for one, a thousand times at a start.
type (
	textFlag struct {
		*ucli.StringFlag
		names  []string
		values completion
	}
	listFlag struct {
		*ucli.StringSliceFlag
		names  []string
		values completion
	}
	toggleFlag struct {
		*ucli.BoolFlag
		names []string
	}
)

func (f *textFlag) Names() []string   { return f.names }
func (f *listFlag) Names() []string   { return f.names }
func (f *toggleFlag) Names() []string { return f.names }

func (f *textFlag) completion() completion { return f.values }
func (f *listFlag) completion() completion { return f.values }

// with sets how the flag's value is completed.
func (f *textFlag) with(c completion) *textFlag {
	f.values = c
	return f
}

func (f *listFlag) with(c completion) *listFlag {
	f.values = c
	return f
}

func names(name, short string) []string {
	if short == "" {
		return []string{name}
	}
	return []string{name, short}
}

func text(topic, name, short, usage string) *textFlag {
	all := names(name, short)
	return &textFlag{&ucli.StringFlag{Name: name, Aliases: all[1:], Category: topic, Usage: usage}, all, nil}
}

// fromEnv lets an environment variable stand in for a flag that is not given.
func fromEnv(f *textFlag, variable string) *textFlag {
	f.EnvVars = []string{variable}
	return f
}

// onByDefault gives a switch the value true.
func onByDefault(f *toggleFlag) *toggleFlag {
	f.Value = true
	return f
}

// alias gives a flag one more name.
func alias(f *textFlag, name string) *textFlag {
	f.names = append(f.names, name)
	f.Aliases = f.names[1:]
	return f
}

func choice(topic, name, initial, usage string) *textFlag {
	f := text(topic, name, "", usage)
	f.Value = initial
	return f
}

func list(topic, name, short, usage string) *listFlag {
	all := names(name, short)
	return &listFlag{&ucli.StringSliceFlag{Name: name, Aliases: all[1:], Category: topic, Usage: usage, KeepSpace: true}, all, nil}
}

func toggle(topic, name, short, usage string) *toggleFlag {
	all := names(name, short)
	return &toggleFlag{&ucli.BoolFlag{Name: name, Aliases: all[1:], Category: topic, Usage: usage, DisableDefaultText: true}, all}
}
