package cli

import (
	"flag"
	"os"
	"slices"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/launcher"
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

// globalFlags returns the flags that every verb takes, before or after it.
func globalFlags() []ucli.Flag {
	return []ucli.Flag{
		fromEnv(text(topicEverywhere, "root", "", "keep images and containers in `DIR` (root: /var/lib/minirun; else $XDG_DATA_HOME/minirun)"), "MINIRUN_ROOT").with(files()),
		fromEnv(text(topicEverywhere, "run-root", "", "keep the state of running containers in `DIR` (root: /run/minirun; else $XDG_RUNTIME_DIR/minirun)"), "MINIRUN_RUN_ROOT").with(files()),
		toggle(topicEverywhere, "debug", "D", "log what minirun does to standard error"),
	}
}

// runFlags returns the flags of a launch, spelled as those of `docker run`.
func runFlags() []ucli.Flag {
	return slices.Concat(processFlags(), securityFlags(), fileFlags(), networkFlags(), namespaceFlags(), cgroupFlags(), containerFlags())
}

// processFlags returns the flags of the command and its streams.
func processFlags() []ucli.Flag {
	return []ucli.Flag{
		toggle(topicProcess, "interactive", "i", "pass on standard input"),
		toggle(topicProcess, "tty", "t", "give the container a terminal"),
		toggle(topicProcess, "detach", "d", "run in the background, and print the container's ID"),
		text(topicProcess, "detach-keys", "", "with -it, leave the container running by `KEYS`, such as ctrl-p,ctrl-q"),
		list(topicProcess, "attach", "a", "pass on only `STREAM`: stdin, stdout or stderr").with(oneOf("stdin", "stdout", "stderr")),
		list(topicProcess, "env", "e", "set an environment variable, `NAME[=VALUE]`; without a value, to minirun's own").with(variables),
		list(topicProcess, "env-file", "", "set the variables that `FILE` lists").with(files()),
		text(topicProcess, "user", "u", "run as `USER[:GROUP]`, names of the image or numbers").with(userAndGroup),
		list(topicProcess, "group-add", "", "join `GROUP` too").with(groups),
		text(topicProcess, "workdir", "w", "start in `DIR`, which is made if it does not exist"),
		text(topicProcess, "entrypoint", "", "run `COMMAND` instead of the image's entry point"),
		toggle(topicProcess, "init", "", "run an init process that forwards signals and reaps processes"),
		onByDefault(toggle(topicProcess, "sig-proxy", "", "pass on signals; with =false those that end minirun kill the command")),
		text(topicProcess, "stop-signal", "", "pass on SIGTERM as `SIGNAL` instead of the image's stop signal"),
		text(topicProcess, "stop-timeout", "", "kill the command if SIGTERM has not ended it after `SECONDS`"),
		list(topicProcess, "ulimit", "", "set a limit, `NAME=SOFT[:HARD]`").with(ulimits),
		hidden(fromEnv(choice(topicProcess, "init-by", string(launcher.InitByPlan), "have `WHO` set the container up from inside: libcontainer or plan").with(oneOf("libcontainer", "plan")), "MINIRUN_INIT_BY")),
	}
}

// securityFlags returns the flags of the filter and the capabilities.
func securityFlags() []ucli.Flag {
	return []ucli.Flag{
		text(topicSecurity, "seccomp", "", "filter system calls with profile `FILE`, default or unconfined; short for --security-opt seccomp=").with(files("default", "unconfined")),
		list(topicSecurity, "seccomp-allow", "", "change the profile to allow `NAMES`: system calls and @groups, separated by commas").with(callNames),
		list(topicSecurity, "seccomp-deny", "", "change the profile to deny `NAMES`").with(callNames),
		list(topicSecurity, "seccomp-gate", "", "change the profile to allow names only with a capability, `CAP=NAMES`").with(gates),
		orFromEnv(toggle(topicSecurity, "explain", "", "report each refused call: who made it, which rule or capability is why, what would allow it"), "MINIRUN_EXPLAIN"),
		text(topicSecurity, "explain-to", "", "append these reports to `FILE` at once, one JSON object a line").with(files()),
		toggle(topicSecurity, "explain-filter", "", "report only what the filter denies: calls that it allows take no longer"),
		toggle(topicSecurity, "complain", "", "let calls through that the filter denies, and report them"),
		text(topicSecurity, "record", "", "write a profile of the calls that the run makes to `FILE`, which grows with each run").with(files()),
		text(topicSecurity, "record-for", "", "record what container runtime `RUNTIME` needs to start with the profile, too: docker").with(oneOf("docker")),
		list(topicSecurity, "cap-add", "", "add capability `CAP`, or ALL").with(capabilities),
		list(topicSecurity, "cap-drop", "", "drop capability `CAP`, or ALL").with(capabilities),
		list(topicSecurity, "security-opt", "", "set `OPTION`: seccomp=PROFILE, no-new-privileges, apparmor=PROFILE or systempaths=unconfined").with(securityOption),
		toggle(topicSecurity, "privileged", "", "give all capabilities and devices, no filter, no masked or read-only paths"),
	}
}

// fileFlags returns the flags of mounts and devices.
func fileFlags() []ucli.Flag {
	return []ucli.Flag{
		list(topicFiles, "volume", "v", "bind `HOST:CONTAINER[:OPTIONS]`; options are ro, rw and others").with(volume),
		list(topicFiles, "mount", "", "mount `SPEC`: type=bind,source=...,target=... or type=tmpfs,target=...").with(mountSpec),
		list(topicFiles, "tmpfs", "", "mount an empty tmpfs at `DIR[:OPTIONS]`"),
		toggle(topicFiles, "read-only", "", "make the root file system read-only"),
		list(topicFiles, "device", "", "give access to device `HOST[:CONTAINER[:rwm]]`, to those in a directory, or to a CDI device, VENDOR/CLASS=NAME").with(files()),
		list(topicFiles, "device-cgroup-rule", "", "allow devices by number, `RULE`: 'c 10:* rw'"),
		text(topicFiles, "gpus", "", "give access to GPUs by CDI; `GPUS` is all, a number, or device=NAME").with(oneOf("all")),
		text(topicFiles, "shm-size", "", "limit /dev/shm to `SIZE` instead of 64m"),
	}
}

// networkFlags returns the flags of the network, and of how names are resolved.
func networkFlags() []ucli.Flag {
	return []ucli.Flag{
		alias(list(topicIsolation, "network", "", "use `NETWORK`: none, which has only a loopback device, host, bridge, slirp4netns, pasta or container:NAME; --net for short (default: $MINIRUN_NETWORK or bridge)").with(oneOf(config.Networks()...)), "net"),
		text(topicIsolation, "ip", "", "give the container `ADDRESS` of the bridge's network"),
		text(topicIsolation, "mac-address", "", "give its device `MAC`"),
		list(topicIsolation, "publish", "p", "pass port HOST of this machine on to the container, `[IP:]HOST[-END]:CONTAINER[-END][/udp]`"),
		toggle(topicIsolation, "publish-all", "P", "publish the ports of --expose and of the image, each at a port that is free"),
		list(topicIsolation, "expose", "", "have --publish-all publish `PORT[-END][/udp]`"),
		list(topicIsolation, "dns", "", "resolve names by the server at `ADDRESS` instead of this machine's"),
		list(topicIsolation, "dns-search", "", "look up names in `DOMAIN`; . is none"),
		alias(list(topicIsolation, "dns-option", "", "set an option of resolv.conf(5), `OPTION`"), "dns-opt"),
		list(topicIsolation, "add-host", "", "add a line to /etc/hosts, `NAME:ADDRESS`; the address of this machine is host-gateway"),
	}
}

// namespaceFlags returns the flags of the other namespaces.
func namespaceFlags() []ucli.Flag {
	return []ucli.Flag{
		text(topicIsolation, "ipc", "", "use the IPC namespace and /dev/shm of `MODE`: private, none (no /dev/shm) or host").with(oneOf(config.IPCs()...)),
		text(topicIsolation, "pid", "", "share the host's processes if `MODE` is host").with(oneOf("host")),
		text(topicIsolation, "uts", "", "share the host's name if `MODE` is host").with(oneOf("host")),
		text(topicIsolation, "cgroupns", "", "use the cgroup namespace of `MODE`: private or host").with(oneOf("private", "host")),
		text(topicIsolation, "userns", "", "use the users of `MODE`: host, or auto, which are users that nobody on the host is; auto:size=N for other than 65536").with(oneOf("host", "auto", "auto:size=")),
		text(topicIsolation, "hostname", "h", "set the container's host name to `NAME`"),
		text(topicIsolation, "domainname", "", "set its NIS domain name to `NAME`"),
		list(topicIsolation, "sysctl", "", "set a kernel parameter of the container's namespaces, `NAME=VALUE`"),
	}
}

// cgroupFlags returns the flags of the cgroup.
func cgroupFlags() []ucli.Flag {
	return []ucli.Flag{
		text(topicIsolation, "memory", "m", "limit memory to `SIZE`: 512m, 2g"),
		text(topicIsolation, "memory-swap", "", "limit memory and swap together to `SIZE`; -1 is no limit"),
		text(topicIsolation, "memory-reservation", "", "keep `SIZE` for the container when memory is short"),
		text(topicIsolation, "oom-score-adj", "", "adjust how early it is killed when memory is short: `NUMBER` from -1000 to 1000"),
		text(topicIsolation, "cpus", "", "limit processor time to `NUMBER` processors: 1.5"),
		text(topicIsolation, "cpu-quota", "", "limit processor time to `MICROSECONDS` in each period"),
		text(topicIsolation, "cpu-period", "", "set the period to `MICROSECONDS` instead of 100000"),
		text(topicIsolation, "cpu-shares", "c", "set the weight when processors are short to `NUMBER`; others have 1024"),
		text(topicIsolation, "cpuset-cpus", "", "run only on processors `LIST`: 0-2,4"),
		text(topicIsolation, "cpuset-mems", "", "use only memory of nodes `LIST`"),
		text(topicIsolation, "pids-limit", "", "limit processes and threads to `NUMBER`; -1 is no limit"),
		choice(topicIsolation, "cgroup-manager", "cgroupfs", "make the cgroup with `MANAGER`: cgroupfs or systemd").with(oneOf(config.CgroupManagers()...)),
		text(topicIsolation, "cgroup-parent", "", "make the cgroup in `CGROUP`, with systemd a slice"),
	}
}

// containerFlags returns the flags of the image, and of the container as other verbs see it.
func containerFlags() []ucli.Flag {
	return []ucli.Flag{
		text(topicImage, "name", "", "name the container `NAME`"),
		text(topicImage, "cidfile", "", "write the container's ID to `FILE`, which must not exist").with(files()),
		list(topicImage, "label", "l", "set a label of the container, `KEY=VALUE`"),
		list(topicImage, "label-file", "", "set the labels that `FILE` lists").with(files()),
		list(topicImage, "annotation", "", "set an annotation of the runtime's configuration, `KEY=VALUE`"),
		choice(topicImage, "pull", "missing", "pull the image `WHEN`: always, missing or never").with(oneOf("always", "missing", "never")),
		text(topicImage, "platform", "", "use the image for `OS/ARCH[/VARIANT]`").with(platforms),
		toggle(topicImage, "quiet", "q", "show no progress of a pull"),
		onByDefault(toggle(topicImage, "rm", "", "remove the container when it ends; with =false, or -d alone, it stays for 'minirun rm'")),
		choice(topicImage, "log-driver", "json-file", "with -d keep the output as `DRIVER` does: json-file or none").with(oneOf("json-file", "none")),
		list(topicImage, "log-opt", "", "set an option of the log, `NAME=VALUE`: max-size=10m and max-file=3 are the defaults").with(oneOf("max-size=", "max-file=", "tag=", "labels=", "labels-regex=", "env=", "env-regex=")),
	}
}

// These flags store their names. Those of urfave/cli compute them with a regular expression at
// each of the thousand lookups of a start. They store their topics too: urfave/cli formats
// the help of all flags that have a category at each start.
type (
	textFlag struct {
		*ucli.StringFlag
		about  string
		names  []string
		values completion
	}
	listFlag struct {
		*ucli.StringSliceFlag
		about  string
		names  []string
		values completion
	}
	toggleFlag struct {
		*ucli.BoolFlag
		about string
		names []string
	}
)

func (f *textFlag) Names() []string   { return f.names }
func (f *listFlag) Names() []string   { return f.names }
func (f *toggleFlag) Names() []string { return f.names }

// Apply returns an error for a variable of the environment that is neither true nor false: that of
// cli v2 would mean little to a user.
func (f *toggleFlag) Apply(set *flag.FlagSet) error {
	for _, variable := range f.EnvVars {
		if value := os.Getenv(variable); value != "" {
			if err := checkBool(variable+"="+value, value); err != nil {
				return err
			}
		}
	}
	return f.BoolFlag.Apply(set)
}

func (f *textFlag) topic() string   { return f.about }
func (f *listFlag) topic() string   { return f.about }
func (f *toggleFlag) topic() string { return f.about }

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
	return &textFlag{&ucli.StringFlag{Name: name, Aliases: all[1:], Usage: usage}, topic, all, nil}
}

// fromEnv sets the environment variable that a flag is read from if it is not given.
func fromEnv(f *textFlag, variable string) *textFlag {
	f.EnvVars = []string{variable}
	return f
}

// hidden leaves a flag out of the help.
func hidden(f *textFlag) *textFlag {
	f.Hidden = true
	return f
}

// orFromEnv is fromEnv for a switch.
func orFromEnv(f *toggleFlag, variable string) *toggleFlag {
	f.EnvVars = []string{variable}
	return f
}

// onByDefault sets a switch that is not given to true.
func onByDefault(f *toggleFlag) *toggleFlag {
	f.Value = true
	return f
}

// alias adds a name to a flag.
func alias(f *listFlag, name string) *listFlag {
	f.names = append(f.names, name)
	f.Aliases = f.names[1:]
	return f
}

// orCalled is alias for a flag with one value.
func orCalled(f *textFlag, name string) *textFlag {
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
	return &listFlag{&ucli.StringSliceFlag{Name: name, Aliases: all[1:], Usage: usage, KeepSpace: true}, topic, all, nil}
}

func toggle(topic, name, short, usage string) *toggleFlag {
	all := names(name, short)
	return &toggleFlag{&ucli.BoolFlag{Name: name, Aliases: all[1:], Usage: usage, DisableDefaultText: true}, topic, all}
}
