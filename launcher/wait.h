// The launcher while its container runs: once init is ready to become the command, the
// launcher replaces itself by execve(2) of its own binary, and a constructor (wait.c)
// goes on in C, in one thread and without the Go runtime's memory. It
//
//	starts the guard, has init become the command    wait.c
//	passes signals on                                wait_signals.c, wait_interrupts.c
//	passes the streams on                            wait_streams.c
//	waits for PID 1, and removes the container       wait.c, wait_remove.c
//
// What is seldom is Go's, in a child: words for the user, and the removal of what is
// unusual (rest.go).
#ifndef MINIRUN_WAIT_H
#define MINIRUN_WAIT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define WAIT_MAGIC "minirun"
enum { WAIT_VERSION = 2 };

// In the environment: the file of the record, for a launcher that goes on in C, and for
// its child in Go.
#define WAIT_VARIABLE "_MINIRUN_WAIT"
#define REST_VARIABLE "_MINIRUN_REST"

// The attribute of the container's directory that has the exit status (life.go).
#define END_ATTRIBUTE "minirun.status"

enum { STREAM_IN, STREAM_OUT, STREAM_ERR, STREAMS };

// What a start failed at.
enum wait_failure {
	WAIT_NOT_FAILED,
	WAIT_GUARD, // the guard was not started
	WAIT_RAW,   // the user's terminal did not get its raw mode
	WAIT_EXEC,  // init has not become the command: the page says why
};

// What a child in Go is for.
enum wait_task {
	WAIT_SAY_IGNORED = 1, // that PID 1 ignores ^C
	WAIT_SAY_END,         // what has happened: its status is the launch's
	WAIT_REMOVE,          // what is left of the container
};

// The record is what the launcher takes along: files by their numbers, -1 for none, and
// texts by their offsets. It is at the begin of a memfd, and texts follow, each with a
// NUL at its end.
struct wait_record {
	char magic[8];     // WAIT_MAGIC
	uint32_t version;  // WAIT_VERSION
	uint32_t size;     // of the file; its last byte is a NUL
	int32_t launcher;  // PID
	char name[16];     // of the process (PR_SET_NAME)
	int32_t self;      // the record
	int32_t init;      // pidfd
	int32_t pid;       // of init
	int32_t page;      // of init (arm/page.h), and the pipe that closes when init is the command
	int32_t pipe;
	int32_t signals;   // the pipe with the numbers of signals that have come until now
	int32_t lock;      // on the container's directory
	int32_t from[STREAMS]; // what is passed on, and to where; with a terminal all but STREAM_ERR
	int32_t to[STREAMS];
	int32_t slave;     // with a terminal: the container's side of it, which is held open
	int32_t host;      // and the user's, which gets raw mode if raw is set
	uint32_t raw;
	int32_t stop;      // the signal that is passed on for SIGTERM
	uint32_t keep;     // 1: no signal is passed on; one that asks for the end kills PID 1
	uint32_t kills;    // 1: SIGTERM is followed by SIGKILL
	int64_t kill_after; // ns; how much later
	uint32_t command;  // for messages, as are the next
	uint32_t workdir;
	uint32_t directory; // the container's own
	uint32_t state;     // the file of its state
	uint32_t launch;    // and that of what it was launched with
	uint32_t id_file;   // removed after a failed start; may be empty
	uint32_t mounts;    // what is mounted in the directory
	uint32_t mount_count;
	uint32_t cgroups;   // directories; one may be empty
	uint32_t cgroup_count;

	// What has happened, for a child in Go.
	uint32_t task;        // enum wait_task
	uint32_t failure;     // enum wait_failure
	int32_t error;        // its errno
	int32_t status;       // of PID 1, as a shell has it
	uint32_t interrupted; // 1: ^C has killed a command that ignores it
	int32_t killed_by;    // the signal that asked for the end and was not passed on, or 0
	int32_t unread;       // the signal that ended the wait for a reader of the output, or 0
	int32_t lost[STREAMS]; // why an output could not be written: errno, or 0
};

extern struct wait_record *record;

// wait_text returns a text of the record.
const char *wait_text(uint32_t offset);

// wait_now is the time of CLOCK_MONOTONIC, in ns.
int64_t wait_now(void);

// poll_set is what the next poll(2) waits for: files, and a time, which is 0 for never.
struct poll_set {
	struct pollfd files[8];
	int count;
	int64_t until;
};

// poll_add returns the index of the file in the set.
int poll_add(struct poll_set *set, int fd, short events);

// poll_until has poll(2) return at a time; 0 is no time.
void poll_until(struct poll_set *set, int64_t time);

// never_block has reads and writes of a file that is the launcher's own not wait.
void never_block(int fd);

// wait_signals.c

// asks_for_end reports whether a signal asks a launcher to end.
bool asks_for_end(int sig);

// signals_begin returns a file that can be read when signals have come (signalfd(2)).
int signals_begin(void);

// signals_take handles the signals that have come. ended: PID 1 has.
void signals_take(bool ended);

// signals_timers adds what signals have set a time for; signals_due does it.
void signals_timers(struct poll_set *set);
void signals_due(void);

// kill_init sends PID 1 a signal. It returns 0, or -1 and errno.
int kill_init(int sig);

// wait_interrupts.c: what interrupts.go does

// interrupt_signal is called before PID 1 is sent SIGINT.
void interrupt_signal(void);

// interrupt_typed is called before ^C is typed on the container's terminal.
void interrupt_typed(int terminal);

void interrupt_timers(struct poll_set *set);
void interrupt_due(void);

// wait_streams.c

// streams_begin returns 0, or -1 and errno when the user's terminal cannot be made raw.
int streams_begin(void);

// streams_watch adds the files that something can be passed on from or to, and
// streams_move passes on what is there.
void streams_watch(struct poll_set *set);
void streams_move(const struct poll_set *set);

// streams_last is called when no process of the container is left: what it has written
// is passed on, and nothing is waited for but readers.
void streams_last(void);

// streams_done reports whether all of it has been passed on.
bool streams_done(void);

// streams_drop gives up what has not been passed on.
void streams_drop(void);

// streams_end gives the user's terminal its mode back, and notes what was lost.
void streams_end(void);

// streams_resize gives the container's terminal the size of the user's.
void streams_resize(void);

// wait_remove.c

// remove_container returns -1 if anything is left. PID 1 has been waited for.
int remove_container(void);

// remove_tree removes the file or directory at a path from an open directory, and all
// below it. It follows no links, and returns -1 if anything is left.
int remove_tree(int dir, const char *path);

// wait.c

// say_ignored has Go warn that PID 1 ignores SIGINT.
void say_ignored(void);

// wait_hand_over makes this process the launcher in C, with the mount namespace of the
// calling thread. It does not return.
_Noreturn void wait_hand_over(int file);

// wait_go_on goes on with the record of a container whose init is parked; wait_give_up
// removes that, since the signal has asked for the end.
_Noreturn void wait_go_on(void);
_Noreturn void wait_give_up(int sig);

// Of arm, whose headers go(1) would not know that this depends on. end_threads ends
// threads until only own ones are left, which block all signals, and returns 0 or an errno; page_run has a parked init
// become its command; page_failed and page_executes report what has come of it.
int end_threads(unsigned own);
void page_run(void *page);
bool page_failed(const void *page);
bool page_executes(const void *page);

#endif
