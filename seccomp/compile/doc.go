// Package compile makes the program of a seccomp filter from a list of rules, the
// form that the OCI runtime specification has for them (config-linux.md, "Seccomp").
//
// libseccomp compiles the list, as for Docker's runtime, and a stub stands in front of
// its program. The verdicts are those of runc for the same list and the same
// libseccomp, with two exceptions. A call that the list names and libseccomp is too old
// to know gets the action of its rule, not the default. A call with more than 32 bits
// in an argument that a rule compares and that the kernel reads as an int gets the
// default action: runc's filter compares 64 bits, so that such a call can bypass the
// rule. Like runc, the stub returns ENOSYS for calls with a larger number than all that
// the list names, unless the default action lets calls through.
//
// Which program comes out is not guaranteed beyond that: it depends on the version of
// libseccomp, and may change with this package. libseccomp 2.5.4 gives wrong
// branches for some lists with several conditions on one call; package analyze shows
// what a program does.
//
// The package is the only one of this module that uses libseccomp, and needs cgo. No
// function needs a privilege, and none installs a filter. All may be called at the same
// time, except that the first call of a process must have returned before others start:
// libseccomp keeps what it finds out about the machine in global variables.
//
// The API is not stable before version 1.
package compile
