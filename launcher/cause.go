package launcher

// Cause is what went wrong in a launch. The program that launches knows which of its
// own flags and verbs help.
type Cause int

// The causes.
const (
	_                 Cause = iota
	CauseCgroup             // the cgroup could not be made: another program may have left it
	CauseDevice             // a device's node could not be made
	CauseEnterWorkdir       // the command's user could not enter the working directory
	CauseHostname           // the host name was refused
	CauseIgnored            // a warning: the command ignores SIGINT
	CauseIgnoredTwice       // a warning: it ignored SIGINT until it was killed
	CauseJoinCgroup         // init could not join the cgroup
	CauseKernel             // the kernel is older than Linux 5.12
	CauseLimits             // the cgroup's limits could not be set
	CauseListener           // the kernel has no seccomp listener: it is older than Linux 5.7
	CauseMemory             // the memory limit does not suffice for init
	CauseNoTerminal         // standard input is no terminal, but the container has one
	CauseNotRunning         // no such container runs
	CauseOwnIDs             // --userns auto gives the container too few IDs
	CausePidfd              // the launcher may not take the filter's listener from init
	CauseRunRoot            // the directory for the state of containers cannot be used
	CauseSysctl             // a kernel parameter was refused
	CauseSystemd            // systemd refused the container's scope
	CauseUserIDs            // the user namespace has too few IDs
	CauseWorkdir            // the working directory could not be made
)
