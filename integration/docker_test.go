package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// asDocker are flags with which minirun's containers look the same inside as Docker's.
var asDocker = [...]string{
	"",
	"--cap-add SYS_ADMIN --cap-drop CHOWN",
	"--cap-drop ALL --cap-add KILL -u 1000:1000 --group-add 44",
	"--security-opt no-new-privileges -u nobody -w /srv -e A=1 -h box",
	"--security-opt seccomp=unconfined --security-opt systempaths=unconfined",
	"--read-only --tmpfs /t --tmpfs /t:size=1m,exec --shm-size 1m",
	"--ulimit nofile=100:200 --ulimit core=0 --oom-score-adj 500",
	"-v /usr/lib:/x --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777 -v /usr/share:/x/gcc:cached",
	"--device /dev/null:/dev/nothing:r --device /dev/zero:rw",
	"--ipc none --domainname dom --sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=12345",
	"--ipc host --pid host --uts host",
	"-m 64m --memory-reservation 32m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 99",
	"-m 64m --memory-swap -1 --cpu-quota 5000 --cpu-period 20000",
}

// inside prints what a container is given, and what it sees of the host.
const inside = `id; pwd; uname -n; env | sort
grep -E '^(Cap|NoNewPrivs|Seccomp:|Cpus_allowed_list|Groups)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj
ls -l /dev | sed 's/  */ /g' | cut -d ' ' -f 1,3-6,10-
awk '{ f = NF; while ($f != "-") f--; print "mount", $5, $6, $(f+1) }' /proc/self/mountinfo
cd /proc/sys; grep . net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range net/ipv4/ip_forward kernel/shmmax kernel/domainname
cd /sys/fs/cgroup; grep -s . memory.max memory.low memory.swap.max cpu.max cpu.weight pids.max \
  memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes memory/memory.memsw.limit_in_bytes \
  cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares pids/pids.max cpuset/cpuset.cpus
ls /sys/class/net; cat /etc/hosts`

// TestAsDocker compares the inside of containers with that of containers of a dockerd
// that the test starts. Differences of dockerd's version are left out by name.
func TestAsDocker(t *testing.T) {
	host := startDockerd(t)
	for _, flags := range asDocker {
		t.Run(flags, func(t *testing.T) {
			args := append(strings.Fields(flags), "--network", "none")
			theirs := outputOf(t, exec.Command("docker", slices.Concat([]string{"-H", host, "run", "--rm", "--cgroupns", "private"}, args, []string{"debian", "sh", "-c", inside})...))
			ours := outputOf(t, exec.Command(testBed.minirun, slices.Concat([]string{"--root", testBed.root}, args, []string{"debian", "sh", "-c", inside})...))
			if diff := cmp.Diff(comparableReport(theirs), comparableReport(ours)); diff != "" {
				t.Errorf("docker -, minirun +:\n%s", diff)
			}
		})
	}
}

func outputOf(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return string(out)
}

var (
	randomID = regexp.MustCompile(`\b[0-9a-f]{12}\b`)
	// The mounts of Docker's and minirun's own that are allowed to differ: masked
	// paths of Docker 28 that 20.10 does not have yet, and Podman's mark.
	ownMounts = regexp.MustCompile(`^mount (/proc/interrupts|/sys/devices/virtual/powercap|/sys/devices/system/cpu\S*|/run/\.containerenv) `)
	// These are in memory: their file system differs, and what may be done with files of it.
	etcMounts = regexp.MustCompile(`^(mount /etc/(?:hosts|hostname|resolv\.conf) r[ow]),.*`)
)

// comparableReport returns a report without what differs from container to container.
func comparableReport(report string) []string {
	var lines []string
	for line := range strings.Lines(randomID.ReplaceAllString(report, "ID")) {
		line = strings.ReplaceAll(strings.TrimSpace(line), "fe00::0", "fe00::") // before Docker 28
		line = strings.ReplaceAll(line, "ff00::0", "ff00::")
		line = etcMounts.ReplaceAllString(line, "$1")
		if !ownMounts.MatchString(line) {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return lines
}

// startDockerd starts a dockerd that touches no network of the host's, with the
// image debian and with these flags, and returns its address.
func startDockerd(t *testing.T, flags ...string) (host string) {
	t.Helper()
	return startDockerdAs(t, "dockerd", flags...)
}

// startDockerdAs is startDockerd for a program that becomes dockerd.
func startDockerdAs(t *testing.T, program string, flags ...string) (host string) {
	t.Helper()
	_, err := exec.LookPath("dockerd")
	testenv.Need(t, "dockerd ('make docker-deps' installs it)", err == nil)
	dir := t.TempDir()
	host = "unix://" + filepath.Join(dir, "sock")
	cmd := exec.Command(program, append(flags, "-H", host, "--iptables=false", "--ip6tables=false", "--bridge=none",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"))...)
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "exec/netns/default"), 0) }) // what it leaves of --network host
	startDaemon(t, cmd, "docker", "-H", host, "version")
	pack := exec.Command(testBed.minirun, "--root", testBed.root, "debian", "tar", "-C", "/", "-c", "--one-file-system", ".")
	pipe(t, pack, exec.Command("docker", "-H", host, "import", "-", "debian"))
	return host
}

// startDaemon starts a daemon, and waits until a command of its client succeeds. The test's
// end interrupts the daemon, and waits for it.
func startDaemon(t *testing.T, daemon *exec.Cmd, client ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	var status error
	ended := make(chan struct{})
	go func() {
		status = daemon.Wait()
		close(ended)
	}()
	limited := spare(daemon.Process)
	t.Cleanup(func() {
		limited()
		_ = daemon.Process.Signal(os.Interrupt)
		<-ended
	})
	deadline := time.After(time.Minute)
	for exec.Command(client[0], client[1:]...).Run() != nil {
		select {
		case <-ended:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s: %v\n%s", daemon, status, text)
		case <-deadline:
			t.Fatalf("%s does not answer", daemon)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pipe runs two commands, with the output of the first as the input of the second.
func pipe(t *testing.T, from, to *exec.Cmd) {
	t.Helper()
	var err error
	if to.Stdin, err = from.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := from.Start(); err != nil {
		t.Fatal(err)
	}
	outputOf(t, to)
	if err := from.Wait(); err != nil {
		t.Fatal(err)
	}
}
