package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// runcCase is a session that is the same with runc and with minirun.
type runcCase struct {
	name   string
	inside string // the container's command, for its shell
	change func(*specs.Spec)
	script string // see session
	says   string // what runc must say, so that two refusals are not taken for the same
}

// ociAsLibcontainersRunc compares with runc what Debian's cannot do, and all that the verbs print.
func ociAsLibcontainersRunc(t *testing.T, root string) {
	runc := libcontainersRunc(t)
	shared := t.TempDir()
	run(t, exec.Command("chmod", "711", filepath.Dir(root), filepath.Dir(shared))) // mapped users go there
	for _, test := range slices.Concat(mappedMounts(shared), passedFiles(), verbs()) {
		t.Run(test.name, func(t *testing.T) {
			b := newBundle(t, root, func(s *specs.Spec) {
				shell(test.inside)(s)
				s.Annotations = map[string]string{"a": "b"}
				s.Linux.CgroupsPath = "/oci-test-runc"
				if test.change != nil {
					test.change(s)
				}
			})
			want, got := b.session(runc, shared, test.script), b.session("minirun", shared, test.script)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("runc -, minirun +:\n%s", diff)
			}
			if !strings.Contains(want, test.says) {
				t.Errorf("runc does not say %q: %s", test.says, want)
			}
		})
	}
}

// libcontainersRunc builds runc of the version that minirun has libcontainer of. Debian's is older.
func libcontainersRunc(t *testing.T) string {
	t.Helper()
	const module = "github.com/opencontainers/runc"
	program := toolProgram(t, "runc", module)
	line, _, _ := strings.Cut(outputOf(t, exec.Command(program, "--version")), "\n")
	if version := strings.TrimPrefix(line, "runc version "); !strings.Contains(read(t, "../go.mod"), module+" v"+version+"\n") {
		t.Fatalf("tools/runc has version %s, go.mod another", version)
	}
	return program
}

// session returns what a script prints for the shell in the bundle's directory. There RT is the runtime, rt also prints
// its messages and its status, $R is its command line, NAME is the container, and $SHARED the directory.
func (b *ociBundle) session(runtime, shared, script string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute) // the script waits for files
	defer cancel()
	call := b.command(runtime)
	cmd := exec.CommandContext(ctx, "sh", "-c", `RT() { $R "$@"; }; rt() { RT "$@" 2>&1; echo "[$?]"; }; `+script)
	cmd.Env = append(os.Environ(), "R="+strings.Join(call.Args, " "), "SHARED="+shared)
	cmd.Dir, cmd.WaitDelay = b.dir, call.WaitDelay
	defer b.run(runtime, "delete", "--force", "NAME")
	out, err := cmd.Output()
	text := strings.NewReplacer(b.dir, "BUNDLE", call.Path, "RUNTIME").Replace(string(out))
	for _, n := range runcNoise {
		text = n.pattern.ReplaceAllString(text, n.to)
	}
	if err != nil {
		text += err.Error()
	}
	return text
}

// runcNoise is what differs from one session to the next.
var runcNoise = []struct {
	pattern *regexp.Regexp
	to      string
}{
	{regexp.MustCompile(`time="[^"]*" level=error msg=`), "ERROR "},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z *`), "TIME "},
	{regexp.MustCompile(`CREATED +`), "CREATED "}, // as wide as the time
	{regexp.MustCompile(`("pid": ?|NAME +)[1-9]\d* *`), "${1}PID "},
	{regexp.MustCompile(`IDMapping:0x[0-9a-f]+`), "IDMapping"},
	// In what an error is for a person, minirun's words are its own: it names the container, and the step that failed.
	{regexp.MustCompile(`container \\"[^"]*\\": |(runc run failed|create container|start container|unable to start container process|error during container init): `), ""},
}

func mappedMounts(shared string) []runcCase {
	const inside = `exec 2>&1 # runc copies the two as they come
stat -c %u:%g /mnt /mnt/theirs /mnt/below/theirs
touch /mnt/own /mnt/below/own && stat -c %u:%g /mnt/own /mnt/below/own
cat /proc/self/uid_map`
	// The mount below is of the same file system: Linux before 6.3 cannot map one of tmpfs.
	const script = `mkdir -p $SHARED/below; mount --bind $SHARED/below $SHARED/below; touch $SHARED/theirs $SHARED/below/theirs
rt run NAME
stat -c %u:%g $SHARED/* $SHARED/below/*; umount $SHARED/below; rm -rf $SHARED/*`
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000000, Size: 2000}}
	mounted := func(change func(*specs.Mount), options ...string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			m := specs.Mount{
				Destination: "/mnt", Source: shared, Type: "bind", Options: append([]string{"bind"}, options...),
				UIDMappings: mapping, GIDMappings: mapping,
			}
			if change != nil {
				change(&m)
			}
			s.Mounts = append(s.Mounts, m)
		}
	}
	inUsers := func(mount func(*specs.Spec)) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings, s.Linux.GIDMappings = mapping, mapping
			mount(s)
		}
	}
	asUser := func(mount func(*specs.Spec)) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Process.User.UID, s.Process.User.GID = 1000000, 1000000
			s.Process.Capabilities = &specs.LinuxCapabilities{}
			mount(s)
		}
	}
	unmapped := func(m *specs.Mount) { m.UIDMappings, m.GIDMappings = nil, nil }
	const theirs, refused = "1000000:1000000\n", "[1]\n"
	return []runcCase{
		{"mapped mount", inside, mounted(nil), script, strings.Repeat(theirs, 3)},
		{"mapped mount for its user", inside, asUser(mounted(nil)), script, strings.Repeat(theirs, 5)},
		{"mapped mount with those below", inside, mounted(nil, "rbind"), script, strings.Repeat(theirs, 2) + "0:0\n"},
		{"mapped mounts", inside, mounted(nil, "rbind", "ridmap"), script, strings.Repeat(theirs, 3)},
		{"mapped mount in a user namespace", inside, inUsers(mounted(nil, "rbind")), script, "0:0\n0:0\n"},
		{"mount mapped as the container", inside, inUsers(mounted(unmapped, "rbind", "idmap")), script, "0:0\n0:0\n"},
		{"mapped as nothing", inside, mounted(unmapped, "idmap"), script, refused},
		{"groups not mapped", inside, mounted(func(m *specs.Mount) { m.GIDMappings = nil }), script, refused},
		{"mapped tmpfs", inside, mounted(func(m *specs.Mount) { m.Type, m.Source, m.Options = "tmpfs", "tmpfs", nil }), script, refused},
	}
}

func passedFiles() []runcCase {
	const inside = `env | grep LISTEN | sort; for f in 3 4 5 6; do head -n 1 <&$f; done 2>&1; echo end`
	const files = `exec 3<config.json 4</etc/hostname 5</etc/passwd; `
	const activated = `export LISTEN_FDS=2; exec sh -c 'LISTEN_PID=$$ exec $R `
	return []runcCase{
		{"preserved files", inside, nil, files + `rt run --preserve-fds 2 NAME`, ""},
		{"files of socket activation", inside, nil, files + activated + `run NAME'`, ""},
		{"files of socket activation, and preserved ones", inside, nil, files + activated + `run --preserve-fds 1 NAME'`, ""},
		{"another process's files of socket activation", inside, nil, files + `export LISTEN_FDS=2 LISTEN_PID=1; rt run NAME`, ""},
		{"files of create", inside, nil, files + `RT create --preserve-fds 1 NAME >out 2>&1; RT start NAME; until grep -q end out; do :; done; cat out`, ""},
		{"files of exec", "exec sleep 1000", nil, `RT create NAME >out 2>&1; RT start NAME; ` + files + `rt exec --preserve-fds 2 NAME sh -c '` + inside + `'
` + activated + `exec NAME env' | grep LISTEN`, ""},
	}
}

func verbs() []runcCase {
	return []runcCase{
		// Annotations are each one's own. minirun does not test Intel RDT, and does not claim it.
		{"features", "true", nil, `RT features | jq 'del(.annotations, .potentiallyUnsafeConfigAnnotations, .linux.intelRdt)'`, ""},
		{"spec", "true", nil, `mkdir s r; RT spec -b s; RT spec --rootless -b r; cat s/config.json r/config.json; RT spec -b s 2>/dev/null; echo $?`, ""},
		{"verbs", "exec sleep 1000", nil, ociVerbs, ""},
	}
}

// ociVerbs is a container's life, and what is an error in it.
const ociVerbs = `
look() { rt list; rt list -q; rt list -f json; rt state NAME; }
limits() {
	find /sys/fs/cgroup -path '*/oci-test-runc/*' \( -name memory.max -o -name memory.low -o -name cpu.max -o -name pids.max \
		-o -name cpuset.cpus -o -name memory.limit_in_bytes -o -name memory.soft_limit_in_bytes -o -name cpu.shares \
		-o -name 'cpu.cfs_*_us' \) | sort | xargs grep .
}
RT create --pid-file pid NAME >/dev/null 2>&1 </dev/null; look
RT start NAME; until grep -q sleep /proc/$(cat pid)/comm; do :; done; look
rt ps NAME -o pid,args | sed 's/ *[0-9]* sleep/PID sleep/'; RT ps -f json NAME | jq length
for v in ps state 'events --stats' 'update --memory 1g' start pause resume 'kill -a' kill delete 'delete -f' 'exec -d'; do
	echo $v; rt $v nosuch
done
for v in ps state events 'list extra' 'update -r nosuch NAME' start pause resume kill delete create run exec 'features extra' \
	'list -f nonsense' 'ps -f nonsense NAME' 'ps NAME -o args' 'update --memory x NAME' 'kill NAME FOO' 'events --interval 0s NAME'; do
	RT $v >/dev/null 2>&1; echo $v $?
done
rt update NAME
rt update --memory 64000000 --memory-reservation 32000000 --cpu-share 512 --cpu-quota 50000 --cpu-period 100000 \
	--pids-limit 55 --cpuset-cpus 0 NAME; limits
rt update --pids-limit -1 --cpu-burst 1000 NAME; limits
echo '{"memory":{"limit":99999744},"pids":{"limit":44},"cpu":{"quota":20000,"idle":1}}' | rt update -r - NAME; limits
RT events --stats NAME | jq -c '[.type, .id, .data.pids.limit, .data.memory.usage.limit]'
RT events --stats NAME | jq -r 'paths(type != "object" and type != "array") | map(if type == "number" then "N" else . end) | join(".")' | sort -u |
	grep -v '^data.memory.cache$' # it is there unless it is 0
RT events --interval 100ms NAME | head -n 2 | jq -c '[.type, .id]'
rt pause NAME; look; rt pause NAME; rt resume NAME; rt resume NAME
rt kill NAME KILL; until RT state NAME | grep -q stopped; do :; done; look
for v in start pause resume kill; do rt $v NAME; done; rt exec NAME true
rt delete NAME; look`
