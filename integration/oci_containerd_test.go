package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/minirun/minirun/internal/testenv"
)

// underContainerd is a session with containerd's client; $RUN has the runtime.
const underContainerd = `ctr() { command ctr -a "$SOCKET" "$@"; echo "[$?]"; }
ctr run --rm $RUN one sh -c 'id; cat /proc/self/cgroup | cut -d : -f 3 | sort -u; exit 3'
ctr run --rm $RUN two nosuch
ctr run -d --seccomp $RUN three sleep 1000
ctr task exec --exec-id a three sh -c 'grep Seccomp: /proc/self/status; exit 5'
ctr task exec --exec-id b three nosuch
ctr task exec --exec-id c --user 7 --cwd /etc three sh -c 'id; pwd'
ctr task ps three | wc -l
ctr task metrics three | sed 's/ .*//'
ctr task pause three; ctr task ls | sed 's/  *[0-9]*  */ /; s/  */ /g'; ctr task resume three
ctr task kill -s KILL three; until command ctr -a "$SOCKET" task ls | grep -q 'three.*STOPPED'; do :; done
ctr task delete three; ctr container rm three; ctr task ls
`

// TestUnderContainerd compares containers that containerd's shim runs with minirun with
// those that it runs with runc.
func TestUnderContainerd(t *testing.T) {
	testenv.Program(t, "containerd")
	testenv.Program(t, "ctr")
	runc := testenv.Program(t, "runc")
	minirun := filepath.Join(t.TempDir(), "minirun-runtime")
	if err := os.Symlink(testBed.minirun, minirun); err != nil {
		t.Fatal(err)
	}
	etc := settings(t)
	socket := startContainerd(t, etc)
	root := debianRoot(t)
	var results [2]string
	for i, runtime := range []string{runc, minirun} {
		cmd := exec.Command("bash", "-c", underContainerd)
		cmd.Env = append(os.Environ(), "SOCKET="+socket,
			"RUN=--env PATH=/usr/bin:/bin --runc-binary "+runtime+" --rootfs "+root)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		text := stdout.String() + stderr.String()
		text = regexp.MustCompile(`time="[^"]*"|(?m)^(ctr: )?(OCI runtime|failed to create shim task).*: (executable file not found).*`).ReplaceAllString(text, "ERROR $3")
		results[i] = text
	}
	if diff := cmp.Diff(results[0], results[1]); diff != "" {
		t.Errorf("runc -, minirun +:\n%s", diff)
	}
	if !strings.Contains(results[1], "Seccomp:\t2\n[5]") {
		t.Errorf("the session did not come that far: %s", results[1])
	}
	text, err := exec.Command("ctr", "-a", socket, "run", "--rm", "--seccomp", "--annotation", "org.minirun.explain=unshare.json",
		"--env", "PATH=/usr/bin:/bin", "--runc-binary", minirun, "--rootfs", root, "explained", "unshare", "-U", "true").CombinedOutput()
	report, _ := os.ReadFile(filepath.Join(filepath.Dir(etc), "reports/unshare.json"))
	if err == nil || !strings.Contains(string(report), `"call":"unshare","args":["CLONE_NEWUSER"]`) {
		t.Errorf("explain: %v: %s %s", err, text, report)
	}
}

// startContainerd starts a containerd of the test's own, with files in front of the
// machine's /etc, and returns its socket.
func startContainerd(t *testing.T, etc string) (socket string) {
	t.Helper()
	dir := t.TempDir()
	socket = filepath.Join(dir, "sock")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := withEtc(etc, []string{"containerd", "-c", filepath.Join(dir, "config.toml")})
	startDaemon(t, cmd, "ctr", "-a", socket, "version")
	return socket
}
