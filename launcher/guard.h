// A process that ends a container when its launcher is gone.
#ifndef MINIRUN_GUARD_H
#define MINIRUN_GUARD_H

// guard_start makes a child that waits until one of two processes, given by their
// pidfds, ends, and kills init if that was the launcher. It returns the child's PID,
// or a negative errno. object is any of the Go heap, or NULL where there is none.
int guard_start(int init, int launcher, const void *object);

#endif
