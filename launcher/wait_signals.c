// Signals of the waiting launcher. They are blocked and read from a signalfd, so none
// interrupts or ends it.
#define _GNU_SOURCE
#include "signals.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static int signals = -1;
static int64_t kill_at, give_up_at; // 0: never
static int unread;                  // the signal because of which the output is given up

bool asks_for_end(int sig)
{
	return sig == SIGINT || sig == SIGTERM || sig == SIGHUP || sig == SIGQUIT;
}

int kill_init(int sig)
{
	return syscall(SYS_pidfd_send_signal, record->init, sig, NULL, 0);
}

static void pass_on(int sig)
{
	if (record->keep) {
		if (asks_for_end(sig)) {
			record->killed_by = sig;
			kill_init(SIGKILL);
		}
		return;
	}
	if (sig == SIGTERM && record->kills)
		kill_at = wait_now() + record->kill_after;
	kill_init(sig == SIGTERM ? record->stop : sig);
}

// take handles a signal. If it asks for the end when PID 1 has already ended, the wait for a
// reader of the output ends a second later.
static void take(int sig, bool ended)
{
	if (ended) {
		if (asks_for_end(sig) && !record->interrupted && !give_up_at) {
			unread = sig;
			give_up_at = wait_now() + 1000000000;
		}
		return;
	}
	if (sig == SIGWINCH) {
		streams_resize();
		return;
	}
	if (sig == SIGINT)
		interrupt_signal();
	pass_on(sig);
}

void signals_begin(void)
{
	sigset_t set;
	signals_passed_on(&set);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	unsigned char sig;
	never_block(record->signals);
	while (read(record->signals, &sig, 1) == 1) // those that came while Go was the launcher
		take(sig, false);
	close(record->signals);
}

int signals_add(struct poll_set *set)
{
	return poll_add(set, signals, POLLIN);
}

bool signals_ask(void)
{
	struct signalfd_siginfo info;
	bool ask = false;
	while (read(signals, &info, sizeof info) == sizeof info)
		ask |= asks_for_end(info.ssi_signo);
	return ask;
}

void signals_take(bool ended)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) == sizeof info)
		take(info.ssi_signo, ended);
}

void signals_timers(struct poll_set *set)
{
	poll_until(set, kill_at);
	poll_until(set, give_up_at);
}

void signals_due(void)
{
	int64_t now = wait_now();
	if (kill_at && now >= kill_at) {
		kill_at = 0;
		kill_init(SIGKILL); // fails if it has ended
	}
	if (give_up_at && now >= give_up_at) {
		give_up_at = 0;
		record->unread = unread;
		streams_drop();
	}
}
