package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withFileCapability copies true(1) into a new directory, with CAP_NET_ADMIN as its own. needs
// is what it takes to execute it: nothing where such files have no effect.
func withFileCapability(t *testing.T) (dir string, needs []string) {
	t.Helper()
	dir = t.TempDir()
	data, err := os.ReadFile("/usr/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "true")
	if err := os.WriteFile(file, data, 0o755); err != nil {
		t.Fatal(err)
	}
	attribute := make([]byte, 20) // struct vfs_cap_data: VFS_CAP_REVISION_2, effective
	attribute[0], attribute[3], attribute[5] = 1, 2, 1<<(unix.CAP_NET_ADMIN-8)
	if err := unix.Setxattr(file, "security.capability", attribute, 0); err != nil {
		t.Fatal(err)
	}
	var mount unix.Statfs_t
	if err := unix.Statfs(dir, &mount); err != nil {
		t.Fatal(err)
	}
	if mount.Flags&unix.ST_NOSUID == 0 {
		needs = []string{"CAP_NET_ADMIN"}
	}
	return dir, needs
}

// A recording says which capabilities the run needed: with exactly these it gives the same,
// and without one of them it does not.
func TestRecordNeeds(t *testing.T) {
	mine, whole := withFileCapability(t)
	for name, test := range map[string]struct {
		flags   []string // of the recorded run
		always  []string // of all
		command []string
		want    []string
	}{
		"nothing":              {command: []string{"true"}},
		"all of them, unused":  {flags: []string{"--cap-add", "ALL", "--seccomp", "unconfined"}, command: []string{"sh", "-c", "ls -la / | wc -l; echo x > /dev/shm/x; cat /proc/1/status | wc -l; cat /proc/1/stat | wc -l"}},
		"chown":                {command: []string{"chown", "nobody", "/tmp"}, want: []string{"CAP_CHOWN"}},
		"a mode that is kept":  {command: []string{"sh", "-c", "touch /tmp/x && chgrp daemon /tmp/x && chmod 2755 /tmp/x && stat -c %a /tmp/x"}, want: []string{"CAP_CHOWN", "CAP_FSETID"}},
		"a mode without bits":  {command: []string{"sh", "-c", "touch /tmp/x && chgrp daemon /tmp/x && chmod 755 /tmp/x && stat -c %a /tmp/x"}, want: []string{"CAP_CHOWN"}},
		"a mount":              {flags: []string{"--cap-add", "SYS_ADMIN"}, command: []string{"sh", "-c", "mount -t tmpfs none /mnt && echo x > /mnt/x && cat /mnt/x"}, want: []string{"CAP_SYS_ADMIN"}},
		"another user":         {command: []string{"setpriv", "--reuid", "1", "--regid", "1", "--clear-groups", "id"}, want: []string{"CAP_SETGID", "CAP_SETUID"}},
		"the same user":        {command: []string{"perl", "-e", `syscall(105, 0) == 0 && syscall(106, 0) == 0 or die "$!"`}}, // setuid, setgid
		"a file of another":    {command: []string{"sh", "-c", "chown 1 /tmp && chmod 700 /tmp && touch /tmp/x"}, want: []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"}},
		"a port":               {always: []string{"--network", "host"}, command: []string{"perl", "-MSocket", "-e", `socket(S, AF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(79, INADDR_LOOPBACK)) or die "$!"`}, want: []string{"CAP_NET_BIND_SERVICE"}},
		"a file capability":    {flags: []string{"--cap-add", "NET_ADMIN"}, always: []string{"-v", mine + ":/mine"}, command: []string{"/mine/true"}, want: whole},
		"a user without any":   {always: []string{"--user", "nobody"}, command: []string{"sh", "-c", "cat /etc/shadow; id -u"}},
		"what was not granted": {flags: []string{"--cap-drop", "ALL"}, command: []string{"chown", "nobody", "/tmp"}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.json")
			command := slices.Concat(test.always, []string{"debian"}, test.command)
			want, stderr, wantStatus := recorded(t, file, append(test.flags, command...)...)
			line := regexp.MustCompile(`(?m)^minirun: capabilities that the run needed: (.*)$`).FindStringSubmatch(stderr)
			if line == nil {
				t.Fatal(stderr)
			}
			flags := strings.Fields(line[1])
			got := slices.DeleteFunc(slices.Clone(flags), func(word string) bool { return !strings.HasPrefix(word, "CAP_") })
			if !slices.Equal(got, test.want) {
				t.Errorf("needed %q, want %q\n%s", got, test.want, stderr)
			}
			if stdout, stderr, status := explained(t, slices.Concat([]string{"--seccomp", file}, flags, command)...); stdout != want || status != wantStatus {
				t.Errorf("with these: status %d, want %d; %s%s", status, wantStatus, stdout, stderr)
			}
			for i, word := range flags {
				if word != "--cap-add" {
					continue
				}
				without := slices.Concat([]string{"--seccomp", file}, flags[:i], flags[i+2:], command)
				if stdout, _, status := explained(t, without...); stdout == want && status == wantStatus {
					t.Errorf("%s is not needed", flags[i+1])
				}
			}
		})
	}
}
