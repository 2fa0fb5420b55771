package integration

import (
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
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
	"github.com/minirun/minirun/launcher"
)

// cves are attacks that have worked against runc. Each is tried on containers of both
// inits; by is the one, for --init-by. docs/runc-cves.md says how they are met.
var cves = []struct {
	names string
	try   func(t *testing.T, by string)
}{
	{"CVE-2019-5736", cveOverwriteBinary},
	{"CVE-2019-16884", cveHideProc},
	{"CVE-2019-19921 CVE-2023-27561 CVE-2023-28642", cveLinkedProc},
	{"CVE-2021-30465", func(t *testing.T, by string) { cveSwapTarget(t, by, "DIR:/out/in") }},
	{"CVE-2022-29162", cveInheritable},
	{"CVE-2024-21626", cveLeakedFiles},
	{"CVE-2024-45310", func(t *testing.T, by string) { cveSwapTarget(t, by, "DIR/file:/out/file") }},
	{"CVE-2025-31133", cveOtherNull},
	{"CVE-2025-52565", cveOtherConsole},
	{"CVE-2025-52881", cveRedirectedWrite},
}

func TestCVE(t *testing.T) {
	for _, c := range cves {
		for _, by := range []string{"libcontainer", "plan"} {
			t.Run(c.names+"/"+by, func(t *testing.T) { c.try(t, by) })
		}
	}
}

// The page is about each of them, and about none that is not tried.
func TestCVEPage(t *testing.T) {
	page, err := os.ReadFile("../docs/runc-cves.md")
	if err != nil {
		t.Fatal(err)
	}
	inPage := regexp.MustCompile(`CVE-\d{4}-\d+`).FindAllString(string(page), -1)
	var tried []string
	for _, c := range cves {
		tried = append(tried, strings.Fields(c.names)...)
	}
	slices.Sort(inPage)
	slices.Sort(tried)
	if diff := cmp.Diff(tried, slices.Compact(inPage)); diff != "" {
		t.Errorf("tried -, in the page +:\n%s", diff)
	}
}

func launchBy(t *testing.T, by string, args ...string) *exec.Cmd {
	t.Helper()
	return minirun(t, append([]string{"--init-by", by}, args...)...)
}

// wantRefused wants a launch to fail before its command runs, for this reason.
func wantRefused(t *testing.T, why, by string, args ...string) {
	t.Helper()
	cmd := launchBy(t, by, append(args, "debian", "echo", "it runs")...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 125 || !regexp.MustCompile(why).Match(out) {
		t.Errorf("%q: %v %s, want %s", args, err, out, why)
	}
}

// Who holds init's executable open can write to it when init has ended, if it is the
// host's.
func cveOverwriteBinary(t *testing.T, by string) {
	t.Setenv(initByVariable, by)
	l := newLifecycle(t, launcher.OwnerLauncher, "true")
	l.do("create", "ok")
	exe, err := os.Open(fmt.Sprintf("/proc/%d/exe", l.see(launcher.StatusCreated).PID))
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	l.do("kill", "ok")
	l.do("wait", "status 137")
	again := fmt.Sprintf("/proc/self/fd/%d", exe.Fd())
	file, err := os.OpenFile(again, os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString("overwritten")
		file.Close()
	}
	if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) { // a read-only view, or a sealed copy
		t.Errorf("init's executable can be written to: %v", err)
	}
	l.do("unmount", "ok")
	l.do("delete", "ok")
}

// A mount in /proc would hide where LSM labels are written, and what is masked.
func cveHideProc(t *testing.T, by string) {
	dir := t.TempDir()
	const inside, notProc = "cannot be mounted because it is inside /proc", "cannot be mounted because it is not of type proc"
	wantRefused(t, notProc, by, "-v", dir+":/proc")
	wantRefused(t, notProc, by, "--tmpfs", "/proc")
	wantRefused(t, inside, by, "-v", dir+":/proc/self/attr")
	wantRefused(t, inside, by, "--tmpfs", "/proc/1")
	// by way of a link that the container has made on a volume
	for _, link := range []string{"/proc/sys", "/proc/self", "/proc"} {
		volume := t.TempDir()
		if err := os.Symlink(link, filepath.Join(volume, "link")); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, "cannot be mounted because it is (inside|not of type) /?proc", by, "-v", volume+":/volume", "-v", dir+":/volume/link")
	}
}

// An image whose /proc or /sys is a link has the one mounted elsewhere.
func cveLinkedProc(t *testing.T, by string) {
	for _, name := range []string{"proc", "sys"} {
		for _, to := range []string{"/tmp", "tmp/x", "/no/such", "/"} {
			root := t.TempDir()
			for _, dir := range []string{"tmp/x", "etc", "proc", "sys", "dev", "run"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(os.Remove(filepath.Join(root, name)), os.Symlink(to, filepath.Join(root, name))); err != nil {
				t.Fatal(err)
			}
			cmd := launchBy(t, by, "dir:"+root, "/bin/true")
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "must be mounted on ordinary directory") {
				t.Errorf("/%s -> %s: status %d, %s", name, to, cmd.ProcessState.ExitCode(), out)
			}
		}
	}
}

// Another container, which has the volume too, swaps a directory on it for a link to the
// host while a mount point below it is looked up or made.
func cveSwapTarget(t *testing.T, by, mount string) {
	volume, host := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(volume, "out"), filepath.Join(volume, "in"), filepath.Join(host, "x")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(host, "x", "file"), nil, 0o644), os.Symlink(host, filepath.Join(volume, "link"))); err != nil {
		t.Fatal(err)
	}
	stop := testenv.Exchange(filepath.Join(volume, "out"), filepath.Join(volume, "link"))
	source, target, _ := strings.Cut(mount, ":")
	for range 10 {
		cmd := launchBy(t, by, "-v", volume+":/volume", "-v", strings.Replace(source, "DIR", filepath.Join(host, "x"), 1)+":/volume"+target, "debian", "true")
		_ = cmd.Run() // it fails when the swap comes at the wrong moment
	}
	stop()
	entries, err := os.ReadDir(host)
	if err != nil || len(entries) != 1 {
		t.Errorf("made on the host: %v %v", entries, err)
	}
}

// Capabilities that are inheritable become permitted by execve(2) of a file that has
// them, whatever the user.
func cveInheritable(t *testing.T, by string) {
	for _, flags := range [][]string{{}, {"-u", "1000"}, {"--privileged"}, {"--cap-add", "ALL", "-u", "1000"}} {
		out, err := launchBy(t, by, append(flags, "debian", "grep", "-E", "^Cap(Inh|Amb):.*[^0\t]", "/proc/self/status")...).Output()
		if err == nil || len(out) > 0 {
			t.Errorf("%v: %s", flags, out)
		}
	}
}

// A descriptor of the host's that init has open is a way out, as the working directory or
// in the command's path.
func cveLeakedFiles(t *testing.T, by string) {
	host := fmt.Sprintf("%d", os.Getpid())
	for n := 3; n < 10; n++ { // a launch has fewer
		fd := fmt.Sprintf("/proc/self/fd/%d", n)
		for _, path := range []string{fd, fd + "/../../..", "/proc/1/fd/" + fd[len("/proc/self/fd/"):]} {
			cmd := launchBy(t, by, "-w", path, "debian", "sh", "-c", "ls ../../../../proc/"+host+" && cat ../../../../etc/hostname")
			if out, err := cmd.Output(); err == nil {
				t.Errorf("-w %s: %s", path, out)
			}
		}
		out, err := launchBy(t, by, "debian", fd+"/../../../../../bin/sh", "-c", "echo out").Output()
		if err == nil {
			t.Errorf("%s: %s", fd, out)
		}
	}
	out, err := launchBy(t, by, "debian", "sh", "-c", "exec ls /proc/self/fd").Output()
	if err != nil || string(out) != "0\n1\n2\n3\n" { // 3 is that of ls
		t.Errorf("open files %q, %v", out, err)
	}
}

// A /dev/null that is something else would be mounted on what is to be hidden.
func cveOtherNull(t *testing.T, by string) {
	dev, host := t.TempDir(), t.TempDir()
	secret := filepath.Join(host, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"file":   func(path string) error { return os.WriteFile(path, nil, 0o666) },
		"link":   func(path string) error { return os.Symlink("/proc/sysrq-trigger", path) },
		"device": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"host":   func(path string) error { return os.Symlink(secret, path) },
	} {
		path := filepath.Join(dev, "null")
		_ = os.Remove(path)
		if err := make(path); err != nil {
			t.Fatal(name, err)
		}
		wantRefused(t, "minirun: start container: ", by, "-v", dev+":/dev")
	}
}

// Where /dev is a volume, /dev/console can be a link. The terminal is not mounted where
// it leads to.
func cveOtherConsole(t *testing.T, by string) {
	dev := t.TempDir()
	if err := errors.Join(
		unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Mkdir(filepath.Join(dev, "pts"), 0o755),
	); err != nil {
		t.Fatal(err)
	}
	launch := func() (status int, out string) {
		cmd := launchBy(t, by, "-t", "-v", dev+":/dev", "debian", "echo", "it runs")
		const withPts = `mount -t devpts -o ptmxmode=666 devpts "$0"/pts && exec "$@"`
		cmd.Path, cmd.Args = testenv.Program(t, "unshare"), slices.Concat([]string{"unshare", "--mount", "sh", "-c", withPts, dev}, cmd.Args)
		text, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(text)
	}
	if status, out := launch(); status != 0 || out != "it runs\r\n" {
		t.Fatalf("without a link: %d %q", status, out)
	}
	for _, to := range []string{"/etc/passwd", "/proc/sysrq-trigger", "/no/such", "null"} {
		console := filepath.Join(dev, "console")
		if err := errors.Join(os.Remove(console), os.Symlink(to, console)); err != nil {
			t.Fatal(err)
		}
		if status, out := launch(); status != 125 || !strings.Contains(out, "too many levels of symbolic links") {
			t.Errorf("console -> %s: %d %s", to, status, out)
		}
	}
}

// What init writes to procfs, labels and kernel parameters, goes where it should, or
// nowhere, whatever is mounted on /proc.
func cveRedirectedWrite(t *testing.T, by string) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/self/attr/exec", "/proc/self/oom_score_adj"} {
		wantRefused(t, "cannot be mounted because it is inside /proc", by, "-v", file+":"+target, "--sysctl", "net.ipv4.ip_forward=1", "--oom-score-adj", "500")
	}
	// where something may be mounted, as lxcfs does
	out, err := launchBy(t, by, "-v", file+":/proc/sys/kernel/ns_last_pid", "-v", file+":/proc/uptime", "--sysctl", "net.ipv4.ip_forward=1",
		"--oom-score-adj", "500", "debian", "cat", "/proc/sys/net/ipv4/ip_forward", "/proc/self/oom_score_adj").Output()
	if err != nil || string(out) != "1\n500\n" {
		t.Errorf("%q %v", out, err)
	}
	if data, err := os.ReadFile(file); err != nil || len(data) != 0 {
		t.Errorf("written to the file: %q %v", data, err)
	}
}
