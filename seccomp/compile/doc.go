// Package compile makes the program of a seccomp filter from a list of rules in the form of
// the OCI runtime specification (config-linux.md, "Seccomp").
//
// libseccomp compiles the list, as for Docker's runtime, and a stub is put in front of its
// program. The verdicts are those of runc for the same list and the same libseccomp, with
// two exceptions. A call that the list names and libseccomp is too old to know gets the
// action of its rule, not the default. A call with more than 32 bits in an argument that a
// rule compares and that the kernel reads as an int gets the default action: runc's filter
// compares 64 bits, so such a call can bypass the rule. As in runc, calls with a larger
// number than all calls that the list names get ENOSYS, unless the default action lets calls
// through.
//
// Nothing else is guaranteed about the program: it depends on the version of libseccomp, and
// may change with this package. libseccomp 2.5.4 compiles wrong branches for some lists with
// several conditions on one call; package analyze shows what a program does.
//
// This is the only package of the module that uses libseccomp. It needs cgo. No function
// needs a privilege, and none installs a filter. The functions may be called concurrently,
// once the first call in a process has returned: libseccomp keeps what it finds out about
// the machine in global variables.
//
// The API is not stable before version 1.
package compile
