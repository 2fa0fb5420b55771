package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Two users, and root beside them, use the same names at once: each has images, containers
// and IDs of its own, and nothing of one reaches another.
func TestTwoUsers(t *testing.T) {
	a, b := ordinaryUser(t, "minirun-a", true), ordinaryUser(t, "minirun-b", true)
	users := []*ordinary{a, b, rootUser(t)}
	for _, u := range users {
		u.small(t, "same")
	}
	t.Run("at once", func(t *testing.T) { atOnce(t, users) })
	t.Run("apart", func(t *testing.T) { apart(t, users) })
	t.Run("directories", func(t *testing.T) { otherDirectories(t, a, b) })
	for _, u := range users {
		u.check(t, asUser{"rmi same", 0, "*", ""})
		u.check(t, asUser{"images -q", 0, "", ""})
	}
	a.wantNothing(t)
	b.wantNothing(t)
}

// small gives a user an image that has directories only. Programs are the host's: -v /usr:/usr:ro.
func (u *ordinary) small(t *testing.T, name string) {
	t.Helper()
	file := filepath.Join(u.home, "image.tar")
	writeImage(t, file, name, headersLayer(t, usrRoot()))
	u.check(t, asUser{"load -q -i " + file, 0, "*", ""})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}

// rootUser is root, with a store of its own.
func rootUser(t *testing.T) *ordinary {
	dir := t.TempDir()
	return &ordinary{name: "root", home: dir, minirun: testBed.minirun, env: []string{"MINIRUN_ROOT=" + dir + "/store", "MINIRUN_RUN_ROOT=" + dir + "/run"}}
}

// atOnce has all users make, use and remove containers with the same names, while they load
// and remove images with the same name.
func atOnce(t *testing.T, users []*ordinary) {
	var workers errgroup.Group
	for _, u := range users {
		for i := range 2 {
			worker := fmt.Sprint("worker", i)
			other := filepath.Join(u.home, worker+".tar")
			writeImage(t, other, worker, headersLayer(t, usrRoot()))
			workers.Go(func() error {
				for range 2 {
					for _, args := range [][]string{
						{"load", "-q", "-i", other},
						{"run", "-v", "/usr:/usr:ro", worker, "sh", "-c", "echo > /file; test -O /file"},
						{"run", "-d", "--name", worker, "-v", "/usr:/usr:ro", "same", "sleep", "1000"},
						{"exec", worker, "true"},
						{"rm", "-f", worker},
						{"rmi", worker},
					} {
						if out, err := u.run(args...).CombinedOutput(); err != nil {
							return fmt.Errorf("%s of %s: %v: %w\n%s", worker, u.name, args, err, out)
						}
					}
				}
				return nil
			})
		}
	}
	if err := workers.Wait(); err != nil {
		t.Error(err)
	}
}

// apart has users try what is another's.
func apart(t *testing.T, users []*ordinary) {
	const name, args = "minirun-same", "run -d --name minirun-same -v /usr:/usr:ro same sleep 1000"
	a, b := users[0], users[1]
	pid := map[*ordinary]string{}
	for _, u := range users {
		u.check(t, asUser{args, 0, "*", ""})
		u.check(t, asUser{args, 125, "", "the name is in use by a container"})
	}
	for _, u := range users {
		u.check(t, asUser{"ps --format {{.Names}}", 0, name, ""})
		out, err := u.run("inspect", "--format", "{{.State.Pid}}", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		pid[u] = strings.TrimSpace(string(out))
	}
	for _, u := range []*ordinary{a, b} {
		other := map[*ordinary]*ordinary{a: b, b: a}[u]
		for _, command := range []string{
			"kill -0 " + pid[other],
			"ls /proc/" + pid[other] + "/root/",
			"ls " + other.home + "/.local/share/minirun",
			fmt.Sprintf("ls /tmp/minirun-%d", other.uid),
			"cat " + other.home + "/.local/share/minirun/containers/" + name + "/log.json",
		} {
			if out, err := u.command("sh", "-c", command).CombinedOutput(); err == nil {
				t.Errorf("%s: %s: %s", u.name, command, out)
			}
		}
		u.check(t, asUser{"run --privileged --pid host -v /usr:/usr:ro same kill -0 " + pid[other], 1, "", "ermitted"})
		u.check(t, asUser{"run --privileged -v " + other.home + ":/h -v /usr:/usr:ro same ls /h/.local/share/minirun", 2, "", "Permission denied"})
	}
	for _, u := range users {
		u.check(t, asUser{"rm -f " + name, 0, name, ""})
		for other, pid := range pid {
			if alive := exists("/proc/" + pid + "/root"); alive != (other != u) {
				t.Errorf("after rm of %s that of %s lives: %v", u.name, other.name, alive)
			}
		}
		delete(pid, u)
	}
}

// otherDirectories has a user come to another's directories by the environment, as after su
// or sudo -E, and by those that another has made before.
func otherDirectories(t *testing.T, a, b *ordinary) {
	defer func() { b.env = nil }()
	run := filepath.Join(a.home, "run")
	shared := fmt.Sprintf("/tmp/minirun-%d", b.uid)
	if err := os.Mkdir(run, 0o700); err != nil {
		t.Fatal(err)
	}
	own(t, run, a)
	if err := os.RemoveAll(shared); err != nil {
		t.Fatal(err)
	}
	const launch = "run -v /usr:/usr:ro same true"
	for _, tt := range []struct{ env, want string }{
		{"HOME=" + a.home, "permission denied\nhint: see whether HOME and XDG_DATA_HOME are yours"},
		{"HOME=here", "--root: HOME is \"here\", not a path from /\nhint: set HOME"},
		{"HOME=", "--root: HOME is \"\", not a path from /\nhint: set HOME"},
		{"XDG_DATA_HOME=" + a.home + "/.local/share", "permission denied\nhint: see whether HOME and XDG_DATA_HOME are yours"},
		{"XDG_RUNTIME_DIR=" + run, "permission denied\nhint: unset XDG_RUNTIME_DIR if it is another user's"},
	} {
		b.env = []string{tt.env}
		b.check(t, asUser{launch, 125, "", tt.want})
	}
	b.env = nil
	if err := os.Mkdir(shared, 0o777); err != nil {
		t.Fatal(err)
	}
	own(t, shared, a)
	b.check(t, asUser{launch, 125, "", shared + " belongs to another user\nhint: choose another directory with --run-root"})
	if left, err := os.ReadDir(shared); err != nil || len(left) > 0 {
		t.Errorf("there is %v (%v)", left, err)
	}
	if err := os.RemoveAll(shared); err != nil {
		t.Fatal(err)
	}
	b.check(t, asUser{launch, 0, "", ""})
}

func own(t *testing.T, path string, u *ordinary) {
	t.Helper()
	if err := os.Chown(path, int(u.uid), int(u.gid)); err != nil {
		t.Fatal(err)
	}
}

// Root with a user's HOME, as with sudo -E, has a store of its own, and leaves nothing in that
// directory; one that is named is refused.
func TestSudo(t *testing.T) {
	u := ordinaryUser(t, "minirun-sudo", true)
	u.small(t, "mine")
	asRoot := func(args ...string) (string, int) {
		cmd := u.run(args...)
		cmd.Env = append(cmd.Env, "SUDO_UID="+strconv.Itoa(int(u.uid)), "XDG_RUNTIME_DIR="+u.home, "MINIRUN_RUN_ROOT=") // this machine's own is not for tests
		cmd.SysProcAttr.Credential = nil
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	store := u.home + "/.local/share/minirun"
	if out, _ := asRoot("doctor"); !regexp.MustCompile(`(?m)^ok +store +/var/lib/minirun`).MatchString(out) {
		t.Errorf("root's store is not /var/lib/minirun:\n%s", out)
	}
	for _, args := range [][]string{{"images"}, {"ps"}, {"run", "mine", "true"}, {"logs", "x"}} {
		out, status := asRoot(append([]string{"--root", store}, args...)...)
		if want := fmt.Sprintf("minirun: open the image store: %s belongs to another user (%d)\n", store, u.uid); status != 125 || !strings.Contains(out, want) {
			t.Errorf("%v: %d, %q, want %q", args, status, out, want)
		}
	}
	if out, err := u.command("find", u.home, "!", "-user", u.name, "!", "-path", filepath.Dir(u.minirun)+"*", "-ls").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("in the user's home are (%v)\n%s", err, out)
	}
	u.check(t, asUser{"rmi mine", 0, "*", ""})
}
