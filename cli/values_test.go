package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/minirun/minirun/internal/testenv"
)

// The error for any bad value of a flag is in minirun's words: one line that names the flag, and
// a hint. The image does not exist, so nothing is started if the value is accepted.
func TestBadValues(t *testing.T) {
	testenv.Root(t) // a user's process would start its program again, which is the test
	raw := regexp.MustCompile(`strconv|/proc/thread-self|/proc/self|dstFd|%!|\.go:|goroutine|0xc0|invalid syntax|parse error|flag -|<nil>`)
	dir := t.TempDir()
	for name, text := range map[string]string{"file": "text\n", "closed": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	values := []string{
		"", " ", "x", "=", "==", ":", "::", ",", "-", "-1", "-2", "0x", "08", "1.5", "1e400", "NaN", "99999999999999999999", "9223372036854775807",
		"a b", "A=B", "=x", "é", "\xff", "\x1b[31m", "a\nb", strings.Repeat("a", 100000), "/", "/dev/zero", "..", "/nosuch/x", dir, dir + "/file", dir + "/file/x",
		"nofile=x", "nofile=1:", "nofile=:1", "CAP_X=chown", "seccomp=", "apparmor=", "type=", "type=bind", "type=tmpfs,target=/m,tmpfs-size=x", "/m:size=x", "/x:y", "linux/",
	}
	for _, f := range runFlags() {
		flag := "--" + f.Names()[0]
		for _, value := range values {
			status, stderr := mainIn(t, dir, flag+"="+value, "--pull=never", "no/such/image", "true")
			lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
			for _, line := range lines {
				if !strings.HasPrefix(line, "minirun: ") && !strings.HasPrefix(line, "hint: ") || raw.MatchString(line) {
					t.Errorf("%s=%.40q: %.200q", flag, value, line)
				}
			}
			accepted := strings.HasPrefix(stderr, "minirun: image no/such/image: ") ||
				(flag == "--seccomp" || flag == "--record") && strings.Contains(lines[0], value+":1:") // the profile was read, and is none
			if status != 125 || len(lines) != 2 || !accepted && !strings.Contains(lines[0], f.Names()[0]) || !strings.HasPrefix(lines[1], "hint: ") {
				t.Errorf("%s=%.40q: status %d, %.400q", flag, value, status, stderr)
			}
		}
	}
}

// mainIn runs minirun in this process with a store in dir, and returns its
// status and what it printed on standard error.
func mainIn(t *testing.T, dir string, args ...string) (int, string) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	stderr, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	status := Main(append([]string{"minirun", "--root", dir + "/store", "--run-root", dir + "/run"}, args...), null, null, stderr)
	text, err := os.ReadFile(stderr.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, string(text)
}
