package arm

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What libcontainer does after its last message is done by takeover.c and arm.c instead,
// and by Container.StartCreated. When this fails, libcontainer has changed: see that
// nothing is lost of what it does there now, then change takeover.c and this list.
func TestLastStep(t *testing.T) {
	for _, test := range []struct {
		file, message string
		before, after []string
	}{
		{
			"standard_init_linux.go", lastStepMessage,
			[]string{"finalizeNamespace(l.config)", "apparmor.ApplyProfile(l.config.AppArmorProfile)", "selinux.SetExecLabel(l.config.ProcessLabel)", "pdeath.Restore()"},
			[]string{
				"l.pipe.Close()",
				`logrus.Debugf("init: about to wait on exec fifo")`,
				"l.logPipe.Close()",
				"pathrs.Reopen(l.fifoFile, unix.O_WRONLY|unix.O_CLOEXEC)",
				"fifoFile.Close()", // deferred
				`fifoFile.Write([]byte("0"))`,
				"fifoFile.Name()",
				"fifoFile.Close()",
				"l.fifoFile.Close()",
				"unix.Getpid()",
				"l.config.Config.Hooks.Run(configs.StartContainer, s)",
				"utils.UnsafeCloseFrom(l.config.PassedFilesCount + 3)",
				"linux.Exec(name, l.config.Args, l.config.Env)",
			},
		},
		{
			"setns_init_linux.go", lastExecMessage,
			[]string{"finalizeNamespace(l.config)", "apparmor.ApplyProfile(l.config.AppArmorProfile)", "selinux.SetExecLabel(l.config.ProcessLabel)", "l.pipe.Close()"},
			[]string{"l.logPipe.Close()", "utils.UnsafeCloseFrom(l.config.PassedFilesCount + 3)", "linux.Exec(name, l.config.Args, l.config.Env)"},
		},
	} {
		calls := callsOfInit(t, test.file)
		last := `logrus.Debugf(` + strconv.Quote(test.message) + `)`
		i := slices.Index(calls, last)
		if i < 0 {
			t.Fatalf("no %s in libcontainer's %s:\n%s", last, test.file, strings.Join(calls, "\n"))
		}
		got := slices.DeleteFunc(slices.Clone(calls[i+1:]), func(call string) bool { return strings.HasPrefix(call, "fmt.Errorf(") || call == `[]byte("0")` })
		if !slices.Equal(got, test.after) {
			t.Errorf("%s: after its last message libcontainer does\n%s\nwant\n%s", test.file, strings.Join(got, "\n"), strings.Join(test.after, "\n"))
		}
		// These are before it, since only libcontainer does them.
		for _, step := range test.before {
			if !slices.Contains(calls[:i], step) {
				t.Errorf("%s: %s does not come before the last message", test.file, step)
			}
		}
	}
}

// callsOfInit are the calls that a method Init of libcontainer's makes, in order.
func callsOfInit(t *testing.T, name string) []string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/opencontainers/runc/libcontainer").Output()
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, filepath.Join(strings.TrimSpace(string(dir)), name), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != "Init" {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				var text bytes.Buffer
				if err := printer.Fprint(&text, fset, call); err != nil {
					t.Fatal(err)
				}
				calls = append(calls, text.String())
			}
			return true
		})
	}
	return calls
}
