package launcher

// Cause identifies what went wrong in a launch, for a caller that adds a hint with the names
// of its own flags and verbs.
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
	CauseLimits             // the limits of the cgroup could not be set
	CauseListener           // the kernel has no seccomp listener: it is older than Linux 5.7
	CauseMemory             // the memory limit is too low for init
	CauseNoTerminal         // the container has a terminal, but standard input is none
	CauseNotRunning         // the container does not run, or does not exist
	CauseOwnIDs             // --userns auto gives the container too few IDs
	CausePidfd              // the launcher may not take the filter's listener from init
	CauseRunRoot            // the directory for the state of containers cannot be used
	CauseSysctl             // a kernel parameter was refused
	CauseSystemd            // systemd refused the container's scope
	CauseUserIDs            // the user namespace has too few IDs
	CauseWorkdir            // the working directory could not be made
)
