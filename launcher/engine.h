// The calls of an engine that need no decisions: start, state, kill and delete of a usual
// container. create writes down what they do, the record, and a constructor does it
// before the Go runtime starts, which would take most of their time.
//
// C does what is usual, and has no words. Whatever else it finds, be it a flag, an error
// or a container that still runs, it leaves to Go, and changes nothing that Go would not
// find as it expects. Only of a start that fails after init has been told to go on
// something remains: init's page, which says why (engine_failure).
//
//	engine.c       the command line, and the record
//	engine_start.c start
//	engine_state.c state
//	engine_end.c   kill, delete
#ifndef MINIRUN_ENGINE_H
#define MINIRUN_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENGINE_MAGIC "minirun"
enum { ENGINE_VERSION = 2, ENGINE_LIMIT = 1 << 16 }; // bytes of a file

#define ENGINE_FILE "engine" // in the container's directory

// The record is at the begin of the file. Texts follow, each with a NUL at its end.
struct engine_record {
	char magic[8];        // ENGINE_MAGIC
	uint32_t version;     // ENGINE_VERSION
	uint32_t size;        // of the file; its last byte is a NUL
	uint64_t started;     // when PID 1 started, in ticks since boot: proc_pid_stat(5)
	int32_t pid;          // of PID 1
	uint32_t kept;        // how many files from 3 on the command gets: struct init_page
	uint32_t boot;        // the boot in which it started: random(4), boot_id
	uint32_t state;       // the file of the container's state
	uint32_t created;     // what is in it until start
	uint32_t running;     // and from then on
	uint32_t shows_created; // what state prints of a container that is created
	uint32_t shows_running; // that runs
	uint32_t shows_stopped; // and that has ended
	uint32_t libcontainer; // the directory of libcontainer's state
	uint32_t fifo;        // the file in it that is there until start
	uint32_t freezer;     // the cgroup's file that says whether it is frozen; may be empty
	uint32_t thawed;      // what is in that unless it is
	uint32_t cgroups;     // directories; one may be empty
	uint32_t cgroup_count;
};

enum engine_verb { ENGINE_START, ENGINE_STATE, ENGINE_KILL, ENGINE_DELETE };

// engine_call is a command line.
struct engine_call {
	const char *root, *log; // log may be NULL
	enum engine_verb verb;
	const char *id;
	const char *signal; // of kill, or NULL
	bool force;         // of delete
};

// engine_parse reads a command line. It returns false for one that is Go's.
bool engine_parse(int argc, char **argv, struct engine_call *call);

// engine_whole reports whether nothing in a record points out of it.
bool engine_whole(const void *bytes, size_t size);

// engine_read reads the record in a container's directory, or returns NULL.
const struct engine_record *engine_read(int dir);

// engine_text returns a text of a record.
const char *engine_text(const struct engine_record *r, uint32_t offset);

// engine_has reports whether a small file has exactly this text.
bool engine_has(const char *path, const char *text);

// engine_start_time reads when a process started, in ticks since boot, and whether it has
// ended and is only not reaped.
bool engine_start_time(int32_t pid, uint64_t *ticks, bool *ended);

enum engine_life { ENGINE_UNKNOWN, ENGINE_LIVES, ENGINE_ENDED };

// engine_life reports whether PID 1 has ended.
enum engine_life engine_life(const struct engine_record *r);

// engine_thawed reports whether the container is not frozen.
bool engine_thawed(const struct engine_record *r);

// engine_open returns a pidfd of PID 1, or -1 unless that lives.
int engine_open(const struct engine_record *r);

// These return whether it is done. engine_start has the container's directory, which is
// locked, and engine_delete that of all containers and of it, which both are.
bool engine_start(int dir);
bool engine_state(int dir);
bool engine_kill(int dir, int signal);
bool engine_delete(int parent, int dir, const char *id);

// engine_signal returns the number of a signal, or -1.
int engine_signal(const char *text);

// engine_failure is what a start has left that init has failed.
struct engine_failure {
	int page, pipe; // of init; -1: there is none
	bool armed;     // it failed after its filter had been installed
	int error;      // or it did not: the errno of what did
};
extern struct engine_failure engine_failure;

// Of arm (start.c, page.c), whose headers go(1) would not know that this depends on.
int page_reopen(int pidfd, uint32_t kept, void **mem, size_t *size, int *pipe);
void page_arm(void *page);
int page_await_armed(const void *page, int pipe);
int page_await_exec(const void *page, int pipe);
void page_run(void *page);

#endif
