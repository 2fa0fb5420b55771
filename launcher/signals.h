// Signals as bytes in a pipe: one sigaction(2) each, where os/signal's Notify
// wakes two threads for every signal, which for all of them is milliseconds.
#ifndef MINIRUN_SIGNALS_H
#define MINIRUN_SIGNALS_H

#include <stdbool.h>

// signal_passed_on reports whether a signal that reaches the launcher is the container's.
bool signal_passed_on(int sig);

// signals_catch makes every signal that can be passed on write its number, one
// byte, to fd, which does not block. It returns 0 or an errno.
int signals_catch(int fd);

// signals_release gives all signals back to whom they had.
void signals_release(void);

#endif
