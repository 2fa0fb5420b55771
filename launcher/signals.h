// Signals as bytes in a pipe. This takes one sigaction(2) for each signal; os/signal's Notify
// wakes two threads for each, which takes milliseconds for all of them.
#ifndef MINIRUN_SIGNALS_H
#define MINIRUN_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

// signal_passed_on reports whether a signal that reaches the launcher is meant for the
// container.
bool signal_passed_on(int sig);

// signals_passed_on makes a set of all of them.
void signals_passed_on(sigset_t *set);

// signals_drop discards those of them that are pending.
void signals_drop(void);

// signals_catch installs a handler for all signals that are passed on. It writes a signal's
// number, as one byte, to fd, which must not block. signals_catch returns 0 or an errno.
int signals_catch(int fd);

// signals_release restores the handlers from before signals_catch.
void signals_release(void);

#endif
