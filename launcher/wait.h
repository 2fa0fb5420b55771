// The launcher while its container runs. Once init is ready to become the command, the
// launcher replaces itself by execve(2) of its own binary, and a constructor (wait.c) goes
// on in C, with one thread and without the memory of the Go runtime. It
//
//	starts the guard, has init become the command    wait.c
//	passes signals on                                wait_signals.c, wait_interrupts.c
//	passes the streams on, or logs them              wait_streams.c, wait_log.c
//	waits for PID 1, and removes the container       wait.c, wait_remove.c
//	has others attach                                wait_server.c
//
// Rare tasks are left to a child in Go (wait_children.c, rest.go): messages to the user, and the removal of a
// container in which something is unusual.
#ifndef MINIRUN_WAIT_H
#define MINIRUN_WAIT_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define WAIT_MAGIC "minirun"
enum { WAIT_VERSION = 3 };

// These environment variables have the descriptor of the record, for the launcher in C and
// for its child in Go, for which a comma and the task follow.
#define WAIT_VARIABLE "_MINIRUN_WAIT"
#define REST_VARIABLE "_MINIRUN_REST"

// The extended attribute of the container's directory with the exit status (life.go).
#define END_ATTRIBUTE "minirun.status"
#define ATTACH_SOCKET "attach.sock" // in the container's directory
#define RESTART_FILE "restart" // in the container's directory: who restarts it makes that (again.go)

enum { STREAM_IN, STREAM_OUT, STREAM_ERR, STREAMS };
enum { STREAM_DATA = 32 << 10 }; // what is read at once

// The step at which a start failed.
enum wait_failure {
	WAIT_NOT_FAILED,
	WAIT_GUARD, // the guard was not started
	WAIT_RAW,   // the user's terminal could not be set to raw mode
	WAIT_EXEC,  // init has not become the command: the page says why
};

// The task of a child in Go.
enum wait_task {
	WAIT_SAY_IGNORED = 1, // say that PID 1 ignores ^C
	WAIT_SAY_END,         // say what has happened; its status becomes the launcher's
	WAIT_REMOVE,          // remove what is left of the container, or note how it has ended
	WAIT_ATTACH,          // serve the streams of a container in the background
};

// The record has what the launcher in C needs to know: files as descriptors, -1 for none,
// and texts as offsets. It is at the start of a memfd; the texts follow, each ending with
// NUL.
struct wait_record {
	char magic[8];     // WAIT_MAGIC
	uint32_t version;  // WAIT_VERSION
	uint32_t size;     // of the file; its last byte is a NUL
	int32_t launcher;  // PID
	char name[16];     // of the process (PR_SET_NAME)
	int32_t self;      // the record
	int32_t init;      // pidfd
	int32_t pid;       // of init
	int32_t page;      // shared with init (arm/page.h)
	int32_t pipe;      // closes when init has become the command
	int32_t signals;   // a pipe with the numbers of the signals that have come until now
	int32_t lock;      // the container's directory, which is locked
	int32_t from[STREAMS]; // the files to pass on; with a terminal there is no STREAM_ERR
	int32_t to[STREAMS];   // and where to
	int32_t slave;     // with a terminal: the container's side, which is held open
	int32_t host;      // with a terminal: the user's
	uint32_t raw;      // 1: set host to raw mode
	int32_t stop;      // the signal that is passed on for SIGTERM
	uint32_t keep;     // 1: no signal is passed on; one that asks for the end kills PID 1
	uint32_t kills;    // 1: SIGTERM is followed by SIGKILL
	int64_t kill_after; // this many ns later
	uint32_t command;  // for messages
	uint32_t workdir;  // for messages
	uint32_t directory; // the container's, as it was named at first
	uint32_t state;     // its file (state.go)
	uint32_t launch;    // its file (launch.go)
	uint32_t id_file;   // removed after a failed start; may be empty
	uint32_t mounts;    // paths to unmount
	uint32_t mount_count;
	uint32_t cgroups;   // directories; one may be empty
	uint32_t cgroup_count;
	uint32_t stays;     // 1: Go decides what of the container stays
	uint32_t before;    // its state before this start (again.go), or 0

	// These are of a container in the background, if that is 1.
	uint32_t background;
	uint32_t id;
	int32_t started;   // gets the ID when init has become the command
	int32_t attach;    // the socket at which others ask for the streams (attach.go), or -1
	uint32_t once;     // 1: standard input ends with that of one who is attached
	int32_t log;       // or -1
	uint32_t log_path;
	int32_t log_files; // this and the next: its limits, as jsonlog.Limits
	int64_t log_size;
	int32_t said;      // a pipe with what minirun itself says, which is logged too
	int32_t end;       // a pipe that gets the status, for the child of WAIT_ATTACH

	// What has happened, for a child in Go.
	uint32_t failure;     // enum wait_failure
	int32_t error;        // its errno
	int32_t status;       // of PID 1, as a shell reports it
	int64_t finished;     // when it ended: ns since 1970
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

// wait_time is that of CLOCK_REALTIME.
struct timespec wait_time(void);

// poll_set is what the next poll(2) waits for: files, and a time; 0 is never.
struct poll_set {
	struct pollfd files[10];
	int count;
	int64_t until;
};

// poll_add returns the index of the file in the set.
int poll_add(struct poll_set *set, int fd, short events);

// poll_until makes poll(2) return at a time at the latest; 0 is ignored.
void poll_until(struct poll_set *set, int64_t time);

// poll_wait waits.
void poll_wait(struct poll_set *set);

// never_block makes a file non-blocking. The file must be the launcher's own.
void never_block(int fd);

// wait_signals.c

// asks_for_end reports whether a signal asks a launcher to end.
bool asks_for_end(int sig);

// signals_begin opens a signalfd(2) for the signals that are passed on, and signals_add has
// poll(2) wait for them. It returns the index in the set.
void signals_begin(void);
int signals_add(struct poll_set *set);

// signals_take handles the signals that have come. ended says whether PID 1 has ended.
void signals_take(bool ended);

// signals_ask drops the signals that have come, and reports whether one asks for the end.
bool signals_ask(void);

// signals_timers adds the times that signals have set; signals_due does what is due.
void signals_timers(struct poll_set *set);
void signals_due(void);

// kill_init sends PID 1 a signal. It returns 0, or -1 and errno.
int kill_init(int sig);

// wait_interrupts.c does what interrupts.go does.

// interrupt_signal is called before PID 1 is sent SIGINT.
void interrupt_signal(void);

// interrupt_typed is called before ^C is typed on the container's terminal.
void interrupt_typed(int terminal);

void interrupt_timers(struct poll_set *set);
void interrupt_due(void);

// wait_streams.c

// streams_begin returns 0, or -1 and errno when the user's terminal cannot be made raw.
int streams_begin(void);

// streams_watch adds the files to wait for, and streams_move passes on what they have.
void streams_watch(struct poll_set *set);
void streams_move(const struct poll_set *set);

// streams_last is called when no process of the container is left. From then on only what has
// been written is passed on, and only readers are waited for.
void streams_last(void);

// streams_done reports whether all output has been passed on.
bool streams_done(void);

// streams_drop gives up what has not been passed on.
void streams_drop(void);

// streams_end restores the mode of the user's terminal, and records output that was lost.
void streams_end(void);

// streams_end_log ends the log, after all that minirun says.
void streams_end_log(void);

// streams_resize gives the container's terminal the size of the user's.
void streams_resize(void);

// streams_leave gives up all that is the user's: init has become the command of a container
// in the background.
void streams_leave(void);

// streams_flush_log has the log contain all that has been read. streams_give_away then closes
// the log: a child serves the streams from here on. streams_take_back goes on where it has been
// killed.
void streams_flush_log(void);
void streams_give_away(void);
void streams_take_back(void);

// wait_log.c writes a log as internal/jsonlog does. There is one log.

// log_begin goes on with a log that is open, with the limits of jsonlog.Limits. log_resume goes
// on with one that another writer has left, as jsonlog.Append does; it returns false without one.
void log_begin(const char *path, int file, int64_t size, int files);
bool log_resume(void);

// log_write adds at most STREAM_DATA bytes of a stream, STREAM_OUT or STREAM_ERR. A line that
// is not complete waits for its rest.
void log_write(int stream, const char *data, size_t size, const struct timespec *now);

// log_flush writes what there is of lines that are not complete. log_end does, and ends the log.
void log_flush(const struct timespec *now);
void log_end(const struct timespec *now);

// json_text writes a text as it is between the quotes of a string in JSON: at most six bytes for each of
// its own. It returns the end.
char *json_text(char *to, const char *text, size_t size);

// log_entry writes an entry, and returns its size: at most 128 bytes more than six times text's.
size_t log_entry(char *to, const char *text, size_t size, const char *stream, const struct timespec *time);

// wait_remove.c

// remove_container returns -1 if anything is left, or to stay. PID 1 has been waited for.
int remove_container(void);

// remove_tree removes the file or directory at a path from an open directory, and all
// below it. It follows no links, and returns -1 if anything is left.
int remove_tree(int dir, const char *path);

// wait_children.c

// in_go starts this binary as a Go program for a task, with the files that it needs.
pid_t in_go(enum wait_task task);

// reap waits for the end of a child, if there is one, and returns its status. reap_speaker is
// reap for a child that prints, for which standard error may have no reader: a signal that asks
// for the end has it killed a second later.
int reap(pid_t child);
int reap_speaker(pid_t child);

// wait_server.c

// server_begin has others attach to a container in the background. server_watch adds the file to
// wait for, and server_move starts the server, or goes on without it when it was killed.
void server_begin(void);
void server_watch(struct poll_set *set);
void server_move(const struct poll_set *set);

// server_end has the server end. What one that was killed has left of the output of a container
// that has ended is logged here.
void server_end(bool ended);

// wait.c

// wait_arguments are those of this process.
extern char **wait_arguments;

// say_ignored has a child in Go warn that PID 1 ignores SIGINT.
void say_ignored(void);

// wait_hand_over makes this process the launcher in C, with the mount namespace of the
// calling thread. It does not return.
_Noreturn void wait_hand_over(int file);

// wait_go_on goes on with the record of a container whose init is parked. wait_give_up
// removes that container, since the signal has asked for the end.
_Noreturn void wait_go_on(void);
_Noreturn void wait_give_up(int sig);

// These functions are package arm's. They are declared again since go(1) does not track
// dependencies on headers of other packages. end_threads ends threads until as many as own
// are left, which block all signals, and returns 0 or an errno. page_run makes a parked init
// become its command; page_failed and page_executes report the result.
int end_threads(unsigned own);
void page_run(void *page);
bool page_failed(const void *page);
bool page_executes(const void *page);

#endif
