// floor ROOTFS DIRECTORY FILTER COMMAND...: the least that any launcher does for a container
// such as minirun's, to tell how far one could go. It has the same namespaces, mounts, cgroups,
// masks, capabilities and filter, is made by one child without a second program, and is removed
// at the end.
//
// It is no launcher: no image, state, name, log or signal, no check of a path, no protection of
// the host from the image or of the command from its filter, nobody who ends the container when
// this process is killed. With cgroup v2 it has no program for devices.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUP "/sys/fs/cgroup"
static int v1; // how many hierarchies of cgroup v1 there are
static char hierarchies[32][64];
static char path[4096], name[32];

static void must(long result, const char *what)
{
	if (result < 0) {
		perror(what);
		_exit(125);
	}
}

#define AT(...) (snprintf(path, sizeof path, __VA_ARGS__), path)

static void write_to(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	must(fd, file);
	must(write(fd, text, strlen(text)), file);
	close(fd);
}

static void copy(const char *file)
{
	char text[64] = "";
	int fd = open(AT(CGROUP "/cpuset/%s", file), O_RDONLY);
	must(read(fd, text, sizeof text - 1), file);
	close(fd);
	write_to(AT(CGROUP "/cpuset/%s/%s", name, file), text);
}

// find_hierarchies reads /proc/self/cgroup, N:CONTROLLERS:PATH in each line (cgroups(7)).
static void find_hierarchies(void)
{
	char line[4096];
	FILE *f = fopen("/proc/self/cgroup", "re");
	while (f && access(CGROUP "/memory", F_OK) == 0 && v1 < 32 && fgets(line, sizeof line, f))
		if (sscanf(line, "%*d:%63[^:]", hierarchies[v1]) == 1)
			v1++;
	fclose(f);
}

// directory returns that of a hierarchy.
static const char *directory(int i)
{
	const char *named = strchr(hierarchies[i], '=');
	return named ? named + 1 : hierarchies[i];
}

static void make_cgroups(void)
{
	if (!v1) {
		must(mkdir(AT(CGROUP "/%s", name), 0755), "cgroup");
		return;
	}
	for (int i = 0; i < v1; i++)
		must(mkdir(AT(CGROUP "/%s/%s", directory(i), name), 0755), path);
	copy("cpuset.cpus");
	copy("cpuset.mems");
}

static void limit_devices(void)
{
	static const char *allowed[] = {"b *:* m", "c *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
		"c 5:0 rwm", "c 5:2 rwm", "c 10:200 rwm", "c 136:* rwm"};
	if (!v1)
		return;
	write_to(AT(CGROUP "/devices/%s/devices.deny", name), "a");
	int fd = open(AT(CGROUP "/devices/%s/devices.allow", name), O_WRONLY | O_CLOEXEC);
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		must(write(fd, allowed[i], strlen(allowed[i])), "devices");
	close(fd);
}

static void join_cgroups(void)
{
	for (int i = 0; i < v1; i++)
		write_to(AT(CGROUP "/%s/%s/tasks", directory(i), name), "0");
}

static void remove_cgroups(void)
{
	if (!v1)
		rmdir(AT(CGROUP "/%s", name));
	for (int i = 0; i < v1; i++)
		rmdir(AT(CGROUP "/%s/%s", directory(i), name));
}

static void mount_at(const char *type, const char *at, unsigned long flags, const char *options)
{
	mkdir(at, 0755);
	must(mount(type, at, type, flags, options), at);
}

static void mount_all(void)
{
	static const struct { const char *name; int major, minor; } nodes[] = {{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
	static const char *links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}, {"/proc/kcore", "dev/core"}};
	const unsigned long quiet = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	mount_at("proc", "proc", quiet, NULL);
	mount_at("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	mount_at("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_at("sysfs", "sys", quiet | MS_RDONLY, NULL);
	if (!v1)
		mount_at("cgroup2", "sys/fs/cgroup", quiet | MS_RDONLY, NULL);
	else
		mount_at("tmpfs", "sys/fs/cgroup", quiet, "mode=755");
	for (int i = 0; i < v1; i++) {
		char options[4096];
		snprintf(options, sizeof options, "%s%s", strchr(hierarchies[i], '=') ? "none," : "", hierarchies[i]);
		mkdir(AT("sys/fs/cgroup/%s", directory(i)), 0755);
		must(mount("cgroup", path, "cgroup", quiet | MS_RDONLY, options), path);
	}
	mount_at("mqueue", "dev/mqueue", quiet, NULL);
	mount_at("tmpfs", "dev/shm", quiet, "mode=1777,size=65536k");
	umask(0);
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknod(AT("dev/%s", nodes[i].name), S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), path);
	umask(022);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		must(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void hide(void)
{
	static const char *read_only[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
	static const char *masked[] = {"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap"};
	for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++) {
		if (mount(read_only[i], read_only[i], NULL, MS_BIND, NULL) < 0)
			continue; // this kernel has no such file
		must(mount(NULL, read_only[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), read_only[i]);
	}
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++)
		if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) < 0 && errno == ENOTDIR)
			must(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, NULL), masked[i]);
}

static void bring_up_loopback(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_LOOPBACK};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(ioctl(fd, SIOCSIFFLAGS, &lo), "lo");
	close(fd);
}

static void drop_capabilities(void)
{
	const uint64_t kept = 0xa80425fb; // Docker's
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{kept, kept, 0}};
	for (int c = 0; c <= 40; c++)
		if (!(kept >> c & 1))
			prctl(PR_CAPBSET_DROP, c);
	must(syscall(SYS_capset, &head, data), "capset");
}

static void install_filter(int file)
{
	static struct sock_filter program[BPF_MAXINSNS];
	ssize_t n = read(file, program, sizeof program);
	must(n, "read the filter");
	struct sock_fprog p = {.len = n / sizeof *program, .filter = program};
	must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &p), "seccomp");
}

static void mount_root(const char *layer)
{
	static const char *own[] = {"hosts", "hostname", "resolv.conf"};
	must(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "make mounts slaves");
	must(mount("overlay", "root", "overlay", 0, AT("lowerdir=%s,upperdir=upper,workdir=work,volatile", layer)), "overlay");
	must(mount("tmpfs", "files", "tmpfs", 0, "mode=0700,size=16m,nr_inodes=16"), "files");
	for (int i = 0; i < 3; i++) {
		char from[32];
		snprintf(from, sizeof from, "files/%s", own[i]);
		write_to(from, "127.0.0.1 localhost\n");
		must(mount(from, AT("root/etc/%s", own[i]), NULL, MS_BIND, NULL), path);
	}
	must(chdir("root"), "root");
}

static _Noreturn void become(const char *layer, int filter, char **command)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setsid();
	join_cgroups();
	must(unshare(CLONE_NEWCGROUP), "unshare");
	bring_up_loopback();
	mount_root(layer);
	mount_all();
	limit_devices();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount");
	must(chdir("/"), "/");
	must(sethostname(name, strlen(name)), "sethostname");
	write_to("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	write_to("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	hide();
	install_filter(filter);
	drop_capabilities();
	execv(command[0], command);
	_exit(127);
}

static void remove_all(void)
{
	static const char *made[] = {"work/work/incompat/volatile", "work/work/incompat", "work/work", "work", "upper", "files", "root"};
	remove_cgroups();
	unlink("work/work/incompat/volatile/dirty");
	for (size_t i = 0; i < sizeof made / sizeof *made; i++)
		rmdir(made[i]);
	must(chdir(".."), "..");
	must(rmdir(name), name);
}

int main(int argc, char **argv)
{
	const uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	struct clone_args args = {.flags = namespaces, .exit_signal = SIGCHLD};
	int status;
	if (argc < 5)
		return 125;
	find_hierarchies();
	snprintf(name, sizeof name, "floor-%d", getpid());
	int filter = open(argv[3], O_RDONLY | O_CLOEXEC);
	must(filter, argv[3]);
	must(chdir(argv[2]), argv[2]);
	must(mkdir(name, 0700), name);
	must(chdir(name), name);
	must(mkdir("root", 0755) | mkdir("upper", 0755) | mkdir("work", 0755) | mkdir("files", 0755), "mkdir");
	make_cgroups();
	if (!v1) {
		args.cgroup = open(AT(CGROUP "/%s", name), O_PATH | O_CLOEXEC);
		args.flags |= CLONE_INTO_CGROUP;
	}
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	must(pid, "clone3");
	if (pid == 0)
		become(argv[1], filter, argv + 4);
	must(waitpid(pid, &status, 0), "wait");
	remove_all();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
