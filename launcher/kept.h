// A kept launch: what a launcher in Go has done from its first call to the moment in
// which it goes on in C (wait.h), as a list of steps. The same launch later, on a host
// that has not changed, is carried out from that by a constructor (kept.c), before the Go
// runtime starts: no flag, profile or image is read again. The words that follow the image may
// be others, since nothing but the command depends on them.
//
// Go decides and writes (kept.go); C checks, carries out, and has no words. Whatever it
// finds, if only an error, it undoes what it has done, and Go starts the container as if
// there were no kept launch.
//
//	struct kept          at offset 0
//	struct kept_stamp[]  files that must not have changed
//	struct kept_step[]   what is made before and after init has been started
//	the rest             the key, init's plan, the filter, texts with a NUL each
//
// A text may have references in it, REFERENCE and a letter, for what each launch has of
// its own.
#ifndef MINIRUN_KEPT_H
#define MINIRUN_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define KEPT_MAGIC "minirun"
enum { KEPT_VERSION = 4, KEPT_LIMIT = 1 << 18 }; // bytes of a file

#define KEPT_DIRECTORY "launches" // in the store
#define KEPT_ROOT "/var/lib/minirun"
#define KEPT_ROOT_VARIABLE "MINIRUN_ROOT"

enum { REFERENCE = 1 };
enum kept_reference {
	KEPT_NAME = 'n',
	KEPT_ID = 'i',       // 64 digits
	KEPT_SHORT_ID = 's', // the first 12
	KEPT_PID = 'p',
	KEPT_START = 't',    // when PID 1 has started: proc_pid_stat(5)
	KEPT_CREATED = 'c',  // RFC 3339
	KEPT_STARTED = 'r',
	KEPT_ADDRESS = 'a', // of the device on the bridge
	KEPT_ADDRESS6 = 'b',
	KEPT_MAC = 'm',
	KEPT_WORDS = 'w',      // after the image, as elements of a list in JSON
	KEPT_FIRST_WORD = 'f',
};

// A list is a number of texts one after another, or of bytes.
struct kept_list {
	uint32_t at;
	uint32_t count;
};

// A stamp of the bridge and the firewall, as launcher/network has made them.
struct kept_bridge {
	uint32_t index; // of the device; 0: the launch is not on the bridge
	uint32_t mtu;   // for a container's device
	uint32_t v4_bits, v6_bits; // of the bridge's networks; 0: it has none of IPv6
	uint8_t v4[4], v6[16];     // its addresses in them
	uint32_t generation; // of nftables' rules
	uint64_t network;    // the network namespace's cookie
};

struct kept {
	char magic[8];    // KEPT_MAGIC
	uint32_t version; // KEPT_VERSION
	uint32_t size;    // of the file, a multiple of 8; its last byte is a NUL
	uint64_t sum;     // kept_sum of what follows
	struct kept_list key;
	struct kept_list stamps; // struct kept_stamp
	struct kept_list steps;  // struct kept_step, as the next two; before the cgroup is made
	struct kept_list joined; // before init is started, which joins that
	struct kept_list late;   // when init has set up the container
	struct kept_list plan;   // bytes
	struct kept_list patches; // struct kept_patch
	struct kept_list filter; // bytes; empty: none
	struct kept_list cgroups; // directories: that of version 2, or "", and those of version 1
	struct kept_list args;   // of the command, before the words
	struct kept_list env;
	struct kept_list mounts; // to unmount in the end
	uint32_t filter_flags;
	uint32_t interactive; // 1: standard input is passed on
	uint64_t namespaces;  // in which init is born, CLONE_NEW*
	int64_t kill_after;   // this and the next: struct wait_record
	int32_t stop;
	uint32_t keep;
	uint32_t kills;
	uint32_t terminal;   // 1: the streams are those of a terminal
	// Texts.
	uint32_t adjectives; // words with a space between them, for a name
	uint32_t animals;    // without any the name is the first of those
	uint32_t containers; // the directory of all containers
	uint32_t image;      // the file whose lock keeps the image
	uint32_t run_root;
	uint32_t files;      // where a tmpfs is mounted for the container's files
	uint32_t directory;  // the container's
	uint32_t state;      // the file of its state, and what is in it
	uint32_t new_text;   // at first
	uint32_t state_text; // and when the command begins
	uint32_t launch;     // and of what it was launched with
	uint32_t launch_text;
	uint32_t command;
	uint32_t workdir;
	struct kept_bridge bridge;
};

// A stamp is what stat(2) says of a file. Of a directory in which others come and go only
// what it is counts.
struct kept_stamp {
	uint32_t path;
	uint32_t kind; // enum kept_stamp_kind
	uint64_t device, inode, size;
	int64_t modified, changed; // ns
	uint32_t mode, user;
};

enum kept_stamp_kind { STAMP_ABSENT, STAMP_IDENTITY, STAMP_WHOLE };

struct kept_step {
	uint32_t kind; // enum kept_kind
	uint32_t mode;
	uint32_t path;
	uint32_t source;
	struct kept_list list;
	uint32_t user, group;
};

enum kept_kind {
	KEPT_MAKE = 1, // make the directory path with the mode, for user and group
	KEPT_OVERLAY,  // mount one at path: source is the last of its options, list the upper and the work
	               // directory, and the lower ones from the top
	KEPT_TMPFS,    // mount one at path; source: its options
	KEPT_FILE,     // make the file path with the text source
	KEPT_BIND,     // mount the file source in the root that is list; mode 1: read-only
	KEPT_COPY,     // write to path what is in source, a file
	KEPT_WRITE,    // write each of list to path, by a write(2) of its own
	KEPT_EXPECT,   // what is in path is source; mode 1: if there is such a file
	KEPT_APPEND,   // add the text source to the file path
	KEPT_DEVICES,  // list is a BPF program for devices, which the cgroup path gets; source: its licence
	KEPT_KINDS
};

// A patch puts a text into the plan, where there is room for it.
struct kept_patch {
	uint32_t at, room, text;
};

_Static_assert(sizeof(struct kept) % 8 == 0 && sizeof(struct kept_stamp) == 56 && sizeof(struct kept_step) == 32 && sizeof(struct kept_bridge) == 48, "no padding");

// kept_key.c: on what a launch depends, except for files.

// kept_key_begin is called when the process begins. It returns false for one whose launches
// are not kept.
bool kept_key_begin(char **all, char **variables);

// kept_key_split says how many arguments come before the words after the image. It returns false if
// there are fewer, or too many for a key.
bool kept_key_split(size_t n);

// kept_key_words returns the rest of the arguments.
char **kept_key_words(void);

// kept_key_file names the file of a launch, 16 digits.
void kept_key_file(char name[17]);

// kept_key_end adds the host to the key, and returns it, or NULL. The thread has the
// process's own namespaces.
const void *kept_key_end(size_t *size);

// kept_key_time is when the process began, ns.
int64_t kept_key_time(void);

// kept_root is where the store is, unless a flag says something else.
const char *kept_root(void);

// kept_check.c: is it whole, and is all as it was?

// kept_sum is for damage, not for attacks: who may write the file needs none.
uint64_t kept_sum(const struct kept *k);

// kept_whole reports whether nothing in bytes that somebody has written points out of them.
bool kept_whole(const void *bytes, size_t size);

// kept_same reports whether all files are as their stamps say.
bool kept_same(const struct kept *k);

// kept_stamp_take fills a stamp in. kind is not STAMP_ABSENT; the file may be.
int kept_stamp_take(const char *path, struct kept_stamp *stamp, uint32_t kind);

// kept_read reads the file of this launch, if there is one that can be trusted.
const struct kept *kept_read(void);

// kept_text.c: texts, with what their references stand for.

// kept is the launch that is carried out.
extern const struct kept *kept;

// kept_take returns memory at a multiple of 8, or NULL. kept_forget frees all of it, and
// the launch with its texts.
void *kept_take(size_t size);
void kept_forget(void);

// kept_refer sets what a reference stands for.
void kept_refer(enum kept_reference reference, const char *text);

// kept_text returns a text. All of them have to fit: kept_room reports whether they did.
const char *kept_text(uint32_t at);
bool kept_room(void);

// kept_texts returns the texts of a list, one after another, and their size.
const char *kept_texts(struct kept_list list, size_t *size);

// kept_refer_to_words has references stand for words, and kept_words adds these after the texts
// that were returned last, and returns their number.
bool kept_refer_to_words(char **words);
uint32_t kept_words(size_t *size);

// kept_bytes returns a list of bytes or structs.
const void *kept_bytes(struct kept_list list);

// kept_use reads all texts of a whole file, for tests.
void kept_use(const void *bytes);

// kept_steps.c

// kept_carry_out returns -1 if a step fails.
int kept_carry_out(struct kept_list steps);

// kept_container.c

// kept_name gives the container an ID and a name.
bool kept_name(void);

// kept_make_directory makes the container's directory, and returns its lock, which is held,
// or -1: also if there is a container that a launcher has left behind.
int kept_make_directory(const char *directory);

// kept_write_new_state has others know of a container that is being made. Of two states that
// are written, with kept_write_state, they see the old or the new.
bool kept_write_new_state(const char *directory);
bool kept_write_state(const char *text);

// kept_write_file writes a file that did not exist.
bool kept_write_file(const char *path, const char *text);

// kept_network.c

// kept_bridge_take fills a stamp in. It returns -1 if there is no bridge that is up.
int kept_bridge_take(struct kept_bridge *bridge);

bool kept_bridge_whole(const struct kept_bridge *bridge);

// kept_network is the network of a launch on the bridge.
struct kept_network {
	int namespace;    // -1: init makes its own
	int host, inside; // sockets of the host's network namespace and of this one
	uint8_t address[4], address6[16];
};

// kept_network_begin makes the namespace, if the bridge is as it was.
bool kept_network_begin(struct kept_network *network);

// kept_network_plug gives it a device on the bridge, with an address that nobody has, and
// closes the namespace and the sockets.
bool kept_network_plug(struct kept_network *network);

// kept_init.c

// kept_init is the init of a launch: its process, and the page and its pipe.
struct kept_init {
	pid_t pid; // 0: it has not been started
	int pidfd;
	int page;
	int pipe;
	int console;  // with a terminal: the socket over which init sends it; else -1
	void *shared; // the page
	size_t shared_size;
};

// kept_start_init starts init; name is the first argument. Init joins the network namespace
// unless that is -1. What it has opened is held.
bool kept_start_init(struct kept_init *init, char *name, int network);

// kept_take_terminal receives the terminal that a parked init has made, if there is one.
bool kept_take_terminal(struct kept_init *init);

// kept.c

// kept_hold notes a file that is closed when the launch is undone, and returns it.
// kept_release closes one.
int kept_hold(int fd);
void kept_release(int fd);

// Of arm (start.c), whose headers go(1) would not know that this depends on.
int page_await_parked(const void *page, int pipe);
void page_arm(void *page);
int page_await_armed(const void *page, int pipe);

#endif
