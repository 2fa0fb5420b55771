package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// oracleCase is a launch that is made twice: libcontainer's init is the oracle of the
// plan's.
type oracleCase struct {
	flags   string // DIR is a directory with the files of oracleDir; ~ is a space that ends no flag
	command []string
	// notExpressible is why no plan expresses it. Then there is nothing to compare, but
	// it runs.
	notExpressible string
	user           bool // it is also launched by an ordinary user (TestRootless)
}

// oracleCases have every flag of a launch (TestOracleIsComplete).
var oracleCases = []oracleCase{
	{flags: ""},
	{flags: "-h box --domainname dom --name NAME -e A=1 -e B --env-file DIR/env -w /srv", user: true},
	{flags: "-w /a/b/c -u 1000:1000 --group-add 44 --group-add audio", user: true},
	{flags: "-u nobody --read-only --tmpfs /t --tmpfs /u:ro,size=1m,exec,noatime --shm-size 1m", user: true},
	{flags: "-w DIR/private -v DIR:DIR -u 1000"}, // which only the container's user may enter
	{flags: "--cap-add SYS_ADMIN --cap-add NET_ADMIN --cap-drop CHOWN --cap-drop MKNOD", user: true},
	{flags: "--cap-drop ALL -u 1000"},
	{flags: "--cap-add ALL --seccomp unconfined"},
	{flags: "--security-opt no-new-privileges -u 1000"},
	{flags: "--security-opt systempaths=unconfined --security-opt apparmor=unconfined --security-opt label=disable"},
	{flags: "--privileged"},
	{flags: "--privileged -u 1000 --init", user: true},
	{flags: "--seccomp-deny mkdir --seccomp-allow keyctl --seccomp-gate CAP_SYS_ADMIN=swapon"},
	{flags: "--ulimit nofile=100:200 --ulimit core=0 --ulimit nproc=50 --ulimit stack=1000000:2000000 --oom-score-adj 500"},
	{flags: "--network host --ipc host --pid host --uts host --cgroupns host", user: true},
	{flags: "--net none --ipc none --cgroupns private"},
	{flags: "--publish 127.0.0.1::80 --publish [::1]::53/udp --expose 81 --publish-all --privileged", user: true},
	{flags: "--network bridge --ip 10.96.0.5 --mac-address 02:00:00:00:00:05 -h box --domainname example.com"},
	{flags: "--network slirp4netns"},
	{flags: "-p 127.0.0.1::80 -t --dns 192.0.2.1 --dns-search a.example --dns-option ndots:2 --add-host a:192.0.2.2"},
	{flags: "--ipc private --cgroupns host"},
	{flags: "--sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=12345 --sysctl net.ipv4.ping_group_range=1~0", user: true},
	{flags: "-v DIR:/x -v DIR/file:/etc/passwd:ro -v DIR/file:/new/file -v /usr/share:/x/sub:ro -v /srv/volume"},
	{flags: "-v DIR:/x:rslave -v DIR:/y:private -v DIR:/z:private,ro -v /dev:/host:ro -v /usr/share:/new:slave,ro", user: true},
	{flags: "--mount type=bind,src=DIR,dst=/x,ro,bind-recursive=disabled --mount type=bind,src=/sys,dst=/y,ro,bind-recursive=writable --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777"},
	{flags: "--mount type=bind,src=/sys,dst=/y,ro --tmpfs /run --tmpfs /usr/share:rw,nosuid,mode=711"},
	{flags: "-v DIR:/x --tmpfs /x/closed"}, // has the mode of the directory, 0
	{flags: "-v /dev:/dev"},
	{flags: "-v /proc:/proc -v DIR/file:/proc/uptime -v /sys:/sys:ro", user: true},
	{flags: "-v DIR:/etc -v DIR/file:/dev/new -v DIR:/dev/shm", user: true},
	{flags: "-v DIR:/var/run/x -v DIR/file:/bin/x --tmpfs /lib/x"},                                 // by way of links
	{flags: "-v DIR/links:/x -v DIR/file:/x/a/d -v /usr/share:/x/b/e -v DIR:/x/up/f -v /srv:/x/a"}, // links that lead to nowhere
	{flags: "--device /dev/null:/dev/nothing:r --device /dev/zero:/dev/a/b/zero --device-cgroup-rule c~10:*~rw", user: true},
	{flags: "--read-only -v DIR:/x -w /x -v /volume"},
	{flags: "-m 64m --memory-reservation 32m --cpus 0.9 --cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 99", user: true},
	{flags: "-m 64m --memory-swap -1 --cpu-quota 18000 --cpu-period 20000 --cgroup-parent /minirun-oracle"},
	{flags: "--init --stop-signal INT --stop-timeout 3 --sig-proxy=false --label a=1 --label-file DIR/env --annotation b=2 --rm --quiet --pull never"},
	{flags: "-i -a stdin -a stdout -a stderr"},
	{flags: "-t"},
	{flags: "-t -u 1000 --read-only --init", user: true},
	{flags: "-t --privileged"},
	{flags: "--userns auto -v DIR:/x -v DIR/file:/new/file:ro -v /srv/volume -w /a/b/c --ulimit nofile=100:200 --oom-score-adj 500 -u 1000:1000 --device /dev/null:/dev/nothing"},
	{flags: "--userns auto -t --privileged --init --network bridge --ip 10.96.0.6 -p 127.0.0.1::80 -m 64m"},
	{flags: "--userns auto --network host --ipc host --pid host --uts host --cgroupns host --cap-add SYS_ADMIN"},
	{flags: "--userns auto:size=1001 --read-only --tmpfs /t --sysctl kernel.shmmax=12345 --sysctl net.ipv4.ip_forward=1 -u 1000 -v /dev:/host:ro,rslave"},
	{flags: "--explain", command: []string{"sh", "-c", "exec setarch -R true 2>&-"}}, // which says nothing itself: reports come at any moment
	{flags: "--record DIR/reports --record-for docker", command: []string{"true"}},
	{flags: "--explain-filter --explain-to DIR/reports", command: []string{"sh", "-c", "exec setarch -R true 2>&-"}},
	{flags: "--complain --explain-to DIR/reports", command: []string{"sh", "-c", "exec setarch -R true 2>&-"}},

	// What fails.
	{command: []string{"/no/such"}},
	{command: []string{"nosuch"}},
	{command: []string{"/etc"}},
	{command: []string{"/etc/passwd"}},
	{command: []string{"/etc/passwd/x"}},
	{command: []string{"./no/such"}},
	{command: []string{""}},
	{command: []string{".."}},
	{flags: "-e PATH=", command: []string{"true"}},
	{flags: "-e PATH", command: []string{"true"}},
	{flags: "-e PATH=/etc:bin -w /", command: []string{"true"}},
	{flags: "-e PATH=/etc:: -w /bin", command: []string{"true"}},
	{flags: "-e PATH=/etc://bin", command: []string{"true"}},
	{flags: "-e PATH=/x//: -v DIR:/x", command: []string{"name"}}, // a script that prints its path
	{flags: "-e PATH=/ -v DIR/name:/name", command: []string{"name"}},
	{flags: "-v DIR/text:/text", command: []string{"/text"}},
	{flags: "-v DIR/script:/script", command: []string{"/script"}},
	{flags: "-v DIR/script:/script -u 1000", command: []string{"/script"}},
	{flags: "-v DIR/script:/usr/local/bin/script", command: []string{"script"}},
	{flags: "--init", command: []string{"nosuch"}},
	{flags: "--seccomp-deny write", command: []string{"echo", "a"}},
	{flags: "-w /etc/passwd/x"},
	{flags: "-w /etc/passwd"},
	{flags: "-w /root/x -u 1000 -v DIR/private:/root"},
	{flags: "-w /root -u 1001 -v DIR/private:/root"},
	{flags: "-v DIR/links:/x -v DIR:/x/loop/y"},
	{flags: "-v DIR:/etc/passwd"},
	{flags: "-v DIR/file:/etc"},
	{flags: "-v DIR:/etc/passwd/x"},
	{flags: "-v DIR:/sys/x", user: true},
	{flags: "--tmpfs /etc/passwd"},
	{flags: "--tmpfs /x:mpol=bogus"},
	{flags: "-v /tmp:/proc"},
	{flags: "--device /dev/null:/etc/passwd/x"},
	{flags: "--device /dev/null:/etc/passwd"},
	{flags: "--ulimit nofile=99999999:99999999", user: true},
	{flags: "--sysctl net.ipv4.ip_forward=bogus"},
	{flags: "--sysctl kernel.shmmax=bogus"},

	{flags: "--userns auto -v DIR:/sys/x"},
	{flags: "--userns auto -v DIR/file:/etc"},
	{flags: "--userns auto --ulimit nofile=99999999:99999999"},
	{flags: "--userns auto --init", command: []string{"nosuch"}},

	{flags: "--userns auto --tmpfs /proc/bus", notExpressible: "a mount in /proc"},
	{flags: "-v DIR/file:/proc/bus/x", notExpressible: "a mount in /proc"},
	{flags: "--tmpfs /proc/bus", notExpressible: "a mount in /proc"},
	{flags: "--tmpfs /x:mpol=" + strings.Repeat("a", 256), notExpressible: "a mount option of 256 bytes or more"},
}

// picture prints all that a process can know of its container.
const picture = `
me=/proc/self
say() { echo "== $*"; }
say user; id; while read -r line; do echo "status $line"; done < $me/status
say process; cat $me/limits $me/oom_score_adj $me/coredump_filter $me/personality $me/timerslack_ns $me/attr/current 2>&1
umask; pwd; ls -l $me/cwd $me/root | cut -d ' ' -f 9-; env | sort
say files; for f in 0 1 2 3 4 5 6 7 8 9; do [ -e $me/fd/$f ] && stat -L -c '%n %F %t:%T %u:%g %a' $me/fd/$f && grep flags $me/fdinfo/$f; done
say terminal; tty; stty -a 2>&1; stat -c '%n %t:%T %F %u:%g %a' /dev/console /dev/pts/* 2>&1
say mounts; cat $me/mountinfo
say dev; stat -c '%n %N %F %t:%T %u:%g %a' /dev /dev/* /dev/a/b/*
say root; stat -c '%n %F %u:%g %a' / /* /x /x/* /y /z /new /new/* /run/* /etc/hosts /srv /a/b /a/b/c
say cgroup; cat $me/cgroup; cd /sys/fs/cgroup; grep -s . memory.max memory.low memory.swap.max cpu.max cpu.weight cpuset.cpus cpuset.mems pids.max \
  memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes cpuset/cpuset.mems devices/devices.list \
  cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus
say namespaces; readlink $me/ns/*
say sysctl; cd /proc/sys; grep -s . net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward kernel/shmmax kernel/domainname kernel/hostname
touch /proc/sys/kernel/shmmax; echo 1 > /proc/sys/kernel/shmmni; ls -d /sys/firmware/* /proc/acpi/* /proc/scsi/*; head -c 1 /proc/keys | wc -c; head -c 1 /proc/timer_list | wc -c
say network; tail -n +3 /proc/net/dev | cut -d : -f 1; cat /sys/class/net/lo/flags; cut -d ' ' -f 2- /proc/net/if_inet6 | sort; grep -c . /proc/net/fib_trie; cat /etc/hosts /etc/resolv.conf
say keyring; grep -o "perm.*_ses.$(uname -n):.*" /proc/keys | sort -u
exit 3`

// TestOracle launches each case by libcontainer and by a plan. What the two containers
// are like inside, their output, errors and exit statuses are the same.
func TestOracle(t *testing.T) {
	dir := oracleDir(t)
	t.Cleanup(func() { // of --cgroup-parent, which stays
		for _, hierarchy := range hierarchies(t) {
			_ = os.Remove(filepath.Join(hierarchy, "minirun-oracle"))
		}
	})
	for _, c := range oracleCases {
		t.Run(strings.TrimSpace(c.flags+" "+strings.Join(c.command, " ")), func(t *testing.T) {
			want, _ := oracleRun(t, c, dir, "libcontainer", nil)
			got, plan := oracleRun(t, c, dir, "plan", nil)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("libcontainer -, plan +:\n%s", diff)
			}
			switch {
			case c.notExpressible != "" && plan != "not expressible: "+c.notExpressible+": libcontainer sets the container up":
				t.Errorf("%s, want not expressible: %s", plan, c.notExpressible)
			case c.notExpressible == "" && !strings.HasPrefix(plan, "clone "):
				t.Errorf("no plan: %s", plan)
			}
		})
	}
}

// oracle is TestOracle for launches of an ordinary user's: for some of the cases, or for all
// with MINIRUN_TEST_ORACLE=all. What a user cannot have is refused in the same words.
func (u *ordinary) oracle(t *testing.T) {
	dir := oracleDir(t)
	for _, c := range oracleCases {
		if !c.user && os.Getenv("MINIRUN_TEST_ORACLE") != "all" {
			continue
		}
		want, _ := oracleRun(t, c, dir, "libcontainer", u)
		got, plan := oracleRun(t, c, dir, "plan", u)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s: libcontainer -, plan +:\n%s", c.flags, c.command, diff)
		}
		if refused := got[len(got)-1] == "status 125"; !strings.HasPrefix(plan, "clone ") && c.notExpressible == "" && !refused {
			t.Errorf("%s %s: no plan: %s", c.flags, c.command, plan)
		}
	}
}

// oracleDir makes the files that cases mount.
func oracleDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"file": "root:x:0:0::/:/bin/sh\n", "env": "C=3\n", "text": "true\n", "script": "#!/no/such\n", "name": "#!/bin/sh\necho $0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "private"), 0o700), os.Mkdir(filepath.Join(dir, "closed"), 0)); err != nil {
		t.Fatal(err)
	}
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) { // for other users
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "links"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"a": "b/c", "b": "/new/z", "up": "../../../../tmp/up", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, "links", link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "private"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	return dir
}

// oracleRun launches a case, as root or as u if that is not nil, and returns all that it says, and what --debug says of the
// plan.
func oracleRun(t *testing.T, c oracleCase, dir, by string, u *ordinary) (report []string, plan string) {
	t.Helper()
	flags := strings.NewReplacer("DIR", dir, "NAME", fmt.Sprintf("oracle-%d", os.Getpid())).Replace(c.flags)
	args := []string{"--init-by", by, "--debug"}
	for _, flag := range strings.Fields(flags) {
		args = append(args, strings.ReplaceAll(flag, "~", " "))
	}
	command := c.command
	if command == nil {
		command = []string{"sh", "-c", picture}
	}
	args = slices.Concat(args, []string{"debian"}, command)
	cmd := minirun(t, args...)
	if u != nil {
		cmd = u.run(args...)
		cmd.SysProcAttr = nil // what is before needs root
		cmd.Args = append([]string{"setpriv", fmt.Sprint("--reuid=", u.uid), fmt.Sprint("--regid=", u.gid), "--clear-groups", u.minirun}, args...)
	}
	// With the mounts of a machine with systemd, which are shared with all namespaces. A
	// shell stays in that namespace: the launcher leaves it. The network is not this machine's.
	cmd.Args = append([]string{"unshare", "--net", "--mount", "--propagation", "shared", "sh", "-c", `ip link set lo up; "$@"; exit $?`, "sh"}, cmd.Args...)
	cmd.Path = testenv.Program(t, "unshare")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = append(cmd.Env, "B=2", "MINIRUN_NETWORK=none") // with a bridge each has another address
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !asExit(err, &exit) {
		t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, "reports"))
	for line := range strings.Lines(stderr.String()) {
		if text, ok := strings.CutPrefix(line, "minirun: debug: plan: "); ok && plan == "" {
			plan = strings.TrimSpace(text)
		}
		if !strings.HasPrefix(line, "minirun: debug: ") && !libcontainersOwn.MatchString(line) {
			report = append(report, oracleLine(line))
		}
	}
	return append(oraclePicture(stdout.String(), report), fmt.Sprintf("status %d", cmd.ProcessState.ExitCode())), plan
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // Run wraps nothing
	*exit = e
	return ok
}

// libcontainersOwn are warnings of its launcher's side, about a cgroup that it does not
// know of.
var libcontainersOwn = regexp.MustCompile(`^minirun: warning: (unable to get oom kill count|Creating a rootless container with no cgroup)`)

var (
	inodeNumber   = regexp.MustCompile(`\b(mnt|net|pid|ipc|uts|cgroup|time|user|pipe|socket|pid_for_children|time_for_children):\[\d+\]`)
	containersDir = regexp.MustCompile(`/containers/[^/\s"]+`)
	peerGroup     = regexp.MustCompile(`\b(shared|master|propagate_from):\d+`)
	anonymousDev  = regexp.MustCompile(`\b0:\d+\b`)
	overlayDirs   = regexp.MustCompile(`(lowerdir\+?|upperdir|workdir|datadir\+?)=[^,\s]*`)
	ownPID        = regexp.MustCompile(`/proc/\d+`)
	randomCgroup  = regexp.MustCompile(`/minirun-[0-9a-f]{12}\b`)
	// memory, times and numbers, and how large the kernel made a table
	volatileStatus = regexp.MustCompile(`^status (Vm|Rss|Hugetlb|voluntary|nonvoluntary|FDSize|SigQ|(Tgid|Ngid|Pid|PPid|NStgid|NSpid|NSpgid|NSsid):.*([2-9]|\d\d))`)
)

// volatileAddress is an IPv6 address of a device with neighbours: whether another has it is
// found out, and a router advertises it, while the command already runs.
var volatileAddress = regexp.MustCompile(`^([0-9a-f]{2} ){4} *eth0\s*$`)

// ownUsers are options of a tmpfs that is root's of --userns auto.
var ownUsers = regexp.MustCompile(`\b([ug]id)=\d{6,}`)

var chosenPort = regexp.MustCompile(`at port \d+`)

// oracleLine returns a line without what differs from container to container.
func oracleLine(line string) string {
	line = strings.TrimRight(line, "\r\n")
	line = randomID.ReplaceAllString(line, "ID")
	line = containersDir.ReplaceAllString(line, "/containers/C")
	line = randomCgroup.ReplaceAllString(line, "/minirun-ID")
	line = peerGroup.ReplaceAllString(line, "$1")
	line = ownUsers.ReplaceAllString(line, "$1=N")
	line = strings.Replace(line, "/dev/mqueue' directory 0:0 0:65534", "/dev/mqueue' directory 0:0 0:0", 1) // libcontainer makes it before it is in the group
	line = chosenPort.ReplaceAllString(line, "at port N")
	line = overlayDirs.ReplaceAllString(line, "$1=")
	return ownPID.ReplaceAllString(line, "/proc/PID")
}

// oraclePicture returns the lines of a picture. Mounts name their parents by mount point,
// not by number, and namespaces are the host's or not.
func oraclePicture(text string, report []string) []string {
	places := map[string]string{}
	mounts := []string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 9 && slices.Contains(f, "-") && anonymousOrDisk.MatchString(f[2]) {
			places[f[0]] = f[4]
			mounts = append(mounts, line)
			continue
		}
		if volatileStatus.MatchString(line) || volatileAddress.MatchString(line) {
			continue
		}
		if m := inodeNumber.FindStringSubmatch(line); m != nil {
			host, _ := os.Readlink("/proc/self/ns/" + m[1])
			line = inodeNumber.ReplaceAllString(line, fmt.Sprintf("%s own=%v", m[1], host != m[0]))
		}
		report = append(report, oracleLine(line))
	}
	for i, line := range mounts {
		f := strings.Fields(line)
		parent := places[f[1]]
		mounts[i] = "mount " + oracleLine(parent+" "+anonymousDev.ReplaceAllString(strings.Join(f[2:], " "), "0:N"))
	}
	slices.Sort(mounts) // those of /etc are made in any order
	return append(report, mounts...)
}

var anonymousOrDisk = regexp.MustCompile(`^\d+:\d+$`)

// Every flag of a launch is in a case, except for those that decide about the image, who
// waits for the container, or where files are kept.
func TestOracleIsComplete(t *testing.T) {
	help, err := exec.Command(testBed.minirun, "run", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, c := range oracleCases {
		all.WriteString(" " + c.flags)
	}
	short := map[string]string{"--user": "-u", "--env": "-e", "--workdir": "-w", "--volume": "-v", "--memory": "-m", "--hostname": "-h", "--tty": "-t", "--interactive": "-i", "--attach": "-a"}
	elsewhere := []string{"--cidfile", "--root", "--run-root", "--debug", "--platform", "--entrypoint", "--cgroup-manager", "--gpus", "--detach", "--detach-keys", "--log-driver", "--log-opt"}
	for _, flag := range regexp.MustCompile(`--[a-z-]+`).FindAllString(string(help), -1) {
		used := strings.Contains(all.String(), " "+flag+" ") || strings.Contains(all.String(), " "+flag+"=") || strings.HasSuffix(all.String(), " "+flag)
		if !used && short[flag] != "" {
			used = strings.Contains(all.String()+" ", " "+short[flag]+" ")
		}
		if !used && !slices.Contains(elsewhere, flag) {
			t.Errorf("no case has %s", flag)
		}
	}
}
