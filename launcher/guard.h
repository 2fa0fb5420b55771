// A process that ends a container when its launcher has ended.
#ifndef MINIRUN_GUARD_H
#define MINIRUN_GUARD_H

// guard_start forks a child that waits until one of two processes, given by their pidfds,
// ends, and kills init if the launcher was the first. It returns the child's PID, or a
// negative errno. object is any object of the Go heap, or NULL without one.
int guard_start(int init, int launcher, const void *object);

// close_files closes the files with the numbers from first to last.
void close_files(unsigned first, unsigned last);

#endif
