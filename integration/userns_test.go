package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/testenv"
)

// firstUser returns whom the root of a container of --userns auto is on the host.
func firstUser(t *testing.T, c *launched) uint32 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", c.pid1))
	if err != nil {
		t.Fatal(err)
	}
	var inside, first, count uint32
	if _, err := fmt.Sscan(string(text), &inside, &first, &count); err != nil || inside != 0 || count != 65536 || first < 0x80000 || first > 0x6FFFFFFF {
		t.Fatalf("uid_map: %q, %v", text, err)
	}
	return first
}

func upper(c *launched) string { return filepath.Join(testBed.root, "containers", c.name, "upper") }

// owner returns whose a file is on the host.
func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(path, err)
	}
	return st.Uid, st.Gid
}

// The root of a container of --userns auto is nobody on the host, whoever looks: at its
// processes, at what it writes to its root and to a volume, and at what it is denied.
func TestOwnUsers(t *testing.T) {
	testenv.Root(t)
	volume := t.TempDir()
	if err := os.Chmod(volume, 0o1777); err != nil {
		t.Fatal(err)
	}
	const script = `touch /v/root /etc/passwd /new; cp /bin/true /setuid; chmod 4755 /setuid; chown 1000:1000 /new; ls /v/secret /v/secret/x >/denied 2>&1`
	if err := os.Mkdir(filepath.Join(volume, "secret"), 0o700); err != nil {
		t.Fatal(err)
	}
	layer := layerWith(t, "etc/passwd")
	before, _ := owner(t, layer)
	a := launch(t, []string{"--userns", "auto", "-v", volume + ":/v"}, "sh", "-c", script+"; echo ready; while :; do sleep 1000; done")
	first := firstUser(t, a)
	t.Run("another", func(t *testing.T) {
		other := firstUser(t, runs(t, "--userns", "auto"))
		if apart := int64(first) - int64(other); apart > -65536 && apart < 65536 {
			t.Errorf("the users of two containers start at %d and %d", first, other)
		}
	})
	for path, want := range map[string][2]uint32{
		volume + "/root":     {0, 0},
		upper(a) + "/setuid": {0, 0},
		upper(a) + "/new":    {1000, 1000},
		upper(a) + "/etc":    {0, 0},
		upper(a):             {0, 0},
	} {
		if uid, gid := owner(t, path); uid != first+want[0] || gid != first+want[1] {
			t.Errorf("%s is %d:%d's, want %d:%d of those from %d on", path, uid, gid, want[0], want[1], first)
		}
	}
	if denied, err := os.ReadFile(upper(a) + "/denied"); !strings.Contains(string(denied), "Permission denied") {
		t.Errorf("a directory of root's on a volume: %q, %v", denied, err)
	}
	if after, _ := owner(t, layer); after != before {
		t.Errorf("%s was %d's, and is %d's", layer, before, after)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.pid1))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"Uid", "Gid"} {
		if want := fmt.Sprintf("%s:\t%[2]d\t%[2]d\t%[2]d\t%[2]d\n", kind, first); !strings.Contains(string(status), want) {
			t.Errorf("PID 1 has not %q:\n%s", want, status)
		}
	}
	// A user of the host's cannot run what is set-user-ID there (CVE-2021-41091).
	look := exec.Command(testenv.Program(t, "setpriv"), "--reuid=65534", "--clear-groups", "ls", upper(a)+"/setuid", "/run/minirun-root/setuid")
	if out, err := look.CombinedOutput(); err == nil || strings.Contains(string(out), "\n/") {
		t.Errorf("a user of the host's reaches it: %s", out)
	}
	entered, err := minirun(t, "exec", a.name, "sh", "-c", "cat /proc/self/uid_map; touch /entered; echo entered > /dev/stdout").Output()
	if err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(string(entered)); len(fields) != 4 || fields[1] != fmt.Sprint(first) || fields[3] != "entered" {
		t.Errorf("exec: %q", entered)
	}
	if uid, _ := owner(t, upper(a)+"/entered"); uid != first {
		t.Errorf("what exec makes is %d's", uid)
	}
}

// layerWith returns the path of a file in the layer of the image debian that has it.
func layerWith(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(testBed.root, "layers", "*", "*", name))
	if more, _ := filepath.Glob(filepath.Join(testBed.root, "layers", "*", "*", "*", name)); len(found) == 0 {
		found = more
	}
	if err != nil || len(found) == 0 {
		t.Fatalf("no layer has %s: %v", name, err)
	}
	return found[0]
}

// What a container of --userns auto cannot do even with all capabilities, and what it can.
func TestOwnUsersPower(t *testing.T) {
	testenv.Root(t)
	const script = `
for write in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches /proc/sysrq-trigger /sys/kernel/uevent_helper /proc/self/uid_map /proc/1/uid_map; do
	[ -e $write ] && (echo 0 0 1 > $write) 2>/dev/null && echo "writes $write"
done
mknod /node c 1 3 2>/dev/null && echo makes devices
for disk in $(find /dev -type b); do (: < $disk) 2>/dev/null && echo "reads $disk"; done
mount -o remount,rw /sys 2>/dev/null && (echo 1 > /sys/kernel/mm/ksm/run) 2>/dev/null && echo writes to sysfs
nsenter --user=/proc/1/ns/user true 2>/dev/null && echo joins its own user namespace again
mount -t tmpfs none /mnt && mount -t proc none /srv && hostname box && ip=$(cat /proc/sys/net/ipv4/ip_forward) && echo $ip > /proc/sys/net/ipv4/ip_forward && echo power of its own`
	got, err := minirun(t, "--userns", "auto", "--privileged", "debian", "sh", "-c", script).Output()
	if err != nil || string(got) != "power of its own\n" {
		t.Errorf("with all capabilities: %v\n%s", err, got)
	}
	const unprivileged = `getcap -n /usr/bin/ping; grep -c Seccomp:.2 /proc/self/status; ping -qc1 127.0.0.1 | grep -c ' 0% packet loss'; touch /tmp/x; stat -c %u /tmp/x /etc/hosts; echo x > /dev/stderr`
	got, err = minirun(t, "--userns", "auto", "--user", "33", "debian", "sh", "-c", unprivileged).Output()
	if err != nil || string(got) != "/usr/bin/ping cap_net_raw=ep\n1\n1\n33\n0\n" {
		t.Errorf("as another user: %v\n%s", err, got)
	}
}

// The users of a container whose launcher was killed are given back, and it leaves nothing.
func TestOwnUsersOfKilled(t *testing.T) {
	testenv.Root(t)
	c := launch(t, []string{"--userns", "auto", "--user", "33"}, "sh", "-c", "echo ready; exec ping -i 1000 127.0.0.1 >/dev/null")
	dir := filepath.Join(testBed.root, "containers", c.name)
	if link, err := os.Readlink(filepath.Join(dir, "ids")); link != fmt.Sprintf("%d:65536", firstUser(t, c)) {
		t.Errorf("%q, %v", link, err)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	eventually(t, "it is removed", func() bool {
		if err := minirun(t, "--userns", "auto:size=1", "debian", "true").Run(); err != nil {
			t.Fatal(err)
		}
		return !exists(dir)
	})
	eventually(t, "PID 1 is reaped", func() bool { return gone(c.pid1) })
	wantNothing(t, c)
	if entries, err := os.ReadDir("/run/minirun-root"); err != nil || len(entries) > 0 {
		t.Errorf("/run/minirun-root: %v, %v", entries, err)
	}
}
