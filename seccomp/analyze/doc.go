// Package analyze answers questions about seccomp profiles: what happens to a call
// ([Explainer]), what is wrong with a profile ([Lint]), how two differ ([Diff]), whether
// one does what its author wants ([Check]), and what it does to all calls with several
// sets of capabilities ([NewMatrix]).
//
// Every answer comes from the compiled program and holds for all calls that the question is
// about. It is a proof by package bpf, not a sample, and the emulator confirms each call that
// is given as an example. If a program is too intricate for the proof the answer is a
// [bpf.IntricateError]. The rules of the profile are read only to find the one behind an
// answer. An answer does not cover what the kernel and the other filters of a process do.
// Lint's warnings about the rules themselves are heuristics: a profile without findings need
// not be a good one.
//
// The answers are data. Texts in them, such as [Explanation.Because], are for people and may
// change. Nothing here needs a privilege, and nothing installs a filter. Functions may be
// called concurrently, with the exception that package compile states; the methods of one
// Explainer may not.
//
// The API is not stable before version 1.
package analyze
