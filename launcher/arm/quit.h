#ifndef MINIRUN_QUIT_H
#define MINIRUN_QUIT_H

// quit_on_signals lets init end with 128+n when signal n asks for its end before it has
// become the command. The Go runtime's own handlers would try to die of the signal, which a
// PID 1 cannot, and then end with 2; on SIGQUIT they would print the stacks of minirun.
// execve(2) gives the command the default handlers.
void quit_on_signals(void);

#endif
