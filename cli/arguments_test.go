package cli

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ucli "github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	for _, test := range []struct{ name, args, want string }{
		{"a launch", "debian bash", "run -- debian bash"},
		{"the verb named", "run debian bash", "run -- debian bash"},
		{"flags on both sides of run", "--init run --rm debian", "run --init=true --rm=true -- debian"},
		{"flags end at IMAGE", "-i debian ls -t --color", "run --interactive=true -- debian ls -t --color"},
		{"flags end at --", "-i -- debian -x", "run --interactive=true -- debian -x"},
		{"an image called as a verb", "run pull", "run -- pull"},
		{"no verb after --", "-- pull debian", "run -- pull debian"},
		{"bundles", "-it debian", "run --interactive=true --tty=true -- debian"},
		{"a bundle with a value", "-itm 512m debian", "run --interactive=true --tty=true --memory=512m -- debian"},
		{"a value at once", "-m512m -uroot -v/a:/b debian", "run --memory=512m --user=root --volume=/a:/b -- debian"},
		{"a value after =", "-m=512m --memory=1g debian", "run --memory=512m --memory=1g -- debian"},
		{"both forms of one flag", "-e A=1 --env B=2 debian", "run --env=A=1 --env=B=2 -- debian"},
		{"a value that looks like a flag", "-e -x debian", "run --env=-x -- debian"},
		{"-h is the host name", "-h true debian", "run --hostname=true -- debian"},
		{"an image called h", "h help", "run -- h help"},
		{"a switch turned off, short", "-i=false -it=false debian", "run --interactive=false --interactive=true --tty=false -- debian"},
		{"flags of Docker's at their default", "--restart no --no-healthcheck=false --cpu-rt-period 0 --runtime=runc debian ls -d", "run -- debian ls -d"},
		{"a switch turned off", "--rm=false debian", "run --rm=false -- debian"},
		{"global flags before a verb", "--root /r -D images", "--root=/r --debug=true images --"},
		{"global flags after a verb", "images --root /r", "--root=/r images --"},
		{"a verb's flags after its words", "pull debian -q", "pull --quiet=true -- debian"},
		{"no flags of a verb after --", "pull -- debian -q", "pull -- debian -q"},
		{"a lone dash is a word", "pull - -q", "pull --quiet=true -- -"},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := testApp()
			got, err := arrange(app, strings.Fields(test.args))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, strings.Join(got.args, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Values with commas and spaces, and empty ones, reach the action unchanged.
func TestValuesAreKept(t *testing.T) {
	for _, value := range []string{"A=1,2", "A= 1 ", "", "A=\n", "--", "-it"} {
		var got []string
		app := testApp()
		app.Command("run").Action = func(c *ucli.Context) error {
			got = c.StringSlice("env")
			return nil
		}
		arranged, err := arrange(app, []string{"-e", value, "--env", value, "debian"})
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Run(append([]string{"minirun"}, arranged.args...)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{value, value}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"größe 日本":        "größe 日本",
		"\x1b[31mred":     `\x1b[31mred`,
		"two\nlines":      `two\nlines`,
		"\u202egnp.exe":   `\u202egnp.exe`, // right-to-left override
		"\xff\xfe":        `\xff\xfe`,
		"a\u00a0b\u200bc": `a\u00a0b\u200bc`,
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}
