// The child in Go that serves the streams of a container in the background, from the moment in
// which somebody attaches to it (serve.go).
#define _GNU_SOURCE
#include "wait.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static pid_t server;       // 0: none
static int end = -1;       // the pipe by which it gets the status
static int listening = -1; // the socket at which others ask for the streams; the server's, if there is one
static int at = -1;        // the index in the poll_set of what is waited for, or -1

// listen_again replaces the socket at which others ask for the streams. Who has connected to the
// old one and got no answer sees its end, since no other process has it.
static void listen_again(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d/" ATTACH_SOCKET, record->lock);
	if (listening >= 0)
		close(listening);
	unlink(name.sun_path);
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listening >= 0 && bind(listening, (struct sockaddr *)&name, sizeof name) == 0 && listen(listening, SOMAXCONN) == 0)
		return;
	close(listening);
	listening = -1; // nobody can attach any more
}

// serve has a child in Go serve the streams, since somebody has connected. The child logs
// them, too, until the container has ended.
static void serve(void)
{
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0) {
		listen_again();
		return;
	}
	record->end = ends[0];
	record->attach = listening;
	streams_flush_log(); // the child goes on at its end
	server = in_go(WAIT_ATTACH);
	close(ends[0]);
	if (server < 0) {
		server = 0;
		close(ends[1]);
		listen_again();
		return;
	}
	end = ends[1];
	streams_give_away();
	close(listening);
	listening = -1;
}

// take_back serves the streams again, since the child that did has ended before the container.
static void take_back(void)
{
	close(end);
	reap(server);
	server = 0;
	streams_take_back();
	listen_again();
}

void server_begin(void)
{
	if (record->background)
		listening = record->attach;
}

void server_watch(struct poll_set *set)
{
	at = server ? poll_add(set, end, 0) : // POLLERR: nobody reads it
	     listening >= 0 ? poll_add(set, listening, POLLIN) : -1;
}

void server_move(const struct poll_set *set)
{
	if (at < 0 || !set->files[at].revents)
		return;
	if (server)
		take_back();
	else
		serve();
}

void server_end(bool ended)
{
	if (server == 0)
		return;
	if (ended)
		dprintf(end, "%d", record->status);
	close(end);
	if (reap(server) != 0 && ended) {
		streams_take_back();
		streams_last();
	}
}
