// runtime is a runtime that makes no container: what it calls so is a process in a network
// namespace that ends when it is started. It runs the prestart hook that dockerd gives a
// container. What an engine takes with it is the engine's own time, which no runtime saves.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// The process reports its namespace by closing a pipe, and its standard files are not the
// container's: who reads these would wait for the end of the pipes.
static pid_t process(void)
{
	int ready[2];
	sigset_t started;
	sigemptyset(&started);
	sigaddset(&started, SIGUSR1);
	sigprocmask(SIG_BLOCK, &started, NULL);
	if (pipe2(ready, O_CLOEXEC) < 0)
		err(1, "pipe2");
	pid_t pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		if (unshare(CLONE_NEWNET) < 0)
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		_exit(sigwait(&started, &(int){0}) != 0);
	}
	close(ready[1]);
	(void)!read(ready[0], &(char){0}, 1); // until its end
	return pid;
}

// hook runs the first prestart hook of a config.json as dockerd writes it.
static void hook(const char *bundle, const char *id, pid_t pid)
{
	static char config[1 << 20];
	char *args[16], name[PATH_MAX];
	snprintf(name, sizeof(name), "%s/config.json", bundle);
	FILE *file = fopen(name, "re");
	if (!file)
		err(1, "%s", name);
	config[fread(config, 1, sizeof(config) - 1, file)] = 0;
	char *path = strstr(config, "\"prestart\":[{\"path\":\"");
	if (!path)
		return;
	path = strtok(strchr(path, '{') + strlen("{\"path\":\""), "\"");
	strtok(NULL, "["); // ,"args":
	char *rest = strtok(NULL, "]");
	int n = 0;
	for (char *arg = strtok(rest, "\","); arg && n < 15; arg = strtok(NULL, "\","))
		args[n++] = arg;
	args[n] = NULL;
	int state[2], status;
	if (pipe2(state, O_CLOEXEC) < 0)
		err(1, "pipe2");
	dprintf(state[1], "{\"ociVersion\":\"1.0.2\",\"id\":\"%s\",\"pid\":%d,\"bundle\":\"%s\"}", id, pid, bundle);
	close(state[1]);
	pid_t child = fork();
	if (child == 0) {
		dup2(state[0], 0);
		execv(path, args);
		err(1, "%s", path);
	}
	if (waitpid(child, &status, 0) < 0 || status != 0)
		errx(1, "%s: status %#x", path, status);
}

// file writes a process's number to a file.
static void file(const char *path, pid_t pid)
{
	FILE *f = fopen(path, "we");
	if (!f || fprintf(f, "%d", pid) < 0 || fclose(f) != 0)
		err(1, "%s", path);
}

int main(int argc, char **argv)
{
	const char *root = "/run/empty", *bundle = ".", *pid_file = NULL, *verb = NULL, *id = NULL;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--root") == 0)
			root = argv[++i];
		else if (strcmp(argv[i], "--bundle") == 0)
			bundle = argv[++i];
		else if (strcmp(argv[i], "--pid-file") == 0)
			pid_file = argv[++i];
		else if (strcmp(argv[i], "--log") == 0 || strcmp(argv[i], "--log-format") == 0)
			i++;
		else if (argv[i][0] != '-' && !verb)
			verb = argv[i];
		else if (argv[i][0] != '-')
			id = argv[i];
	}
	if (!verb || !id)
		return 0;
	char own[PATH_MAX];
	snprintf(own, sizeof(own), "%s/%s", root, id);
	for (char *slash = strchr(own + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = 0;
		mkdir(own, 0700);
		*slash = '/';
	}
	if (strcmp(verb, "create") == 0) {
		pid_t pid = process();
		hook(bundle, id, pid);
		file(own, pid);
		if (pid_file)
			file(pid_file, pid);
	} else if (strcmp(verb, "start") == 0) {
		int pid;
		FILE *f = fopen(own, "re");
		if (!f || fscanf(f, "%d", &pid) != 1 || kill(pid, SIGUSR1) < 0)
			err(1, "%s", own);
	} else if (strcmp(verb, "delete") == 0) {
		unlink(own);
	}
	return 0;
}
