package launcher

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/user"
)

// moby's own look-up in the whole files is the oracle.
func FuzzLookUp(f *testing.F) {
	const passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:100:Ann:/home/ann:/bin/sh\n1000:x:7:7::/x:\nann:x:5:5::/:\n:x:9:9::/n:\n#c:x:8:8::/:\nbob :x:11:11::/:\n"
	const group = "users:x:100:\nwheel:x:10:ann,root\n#no:x:1:ann\n77:x:78:\nstaff:x:77:ann\nwheel:x:99:\nspace:x:12:bob ,x\n"
	for _, spec := range []string{"", "ann", "1000", "ann:wheel", "7:77", ":10", "bob ", "#c", "ann:", "nobody", "9", "-1", "99999999999999999999", "+7:+8"} {
		f.Add(spec, "77", passwd, group)
	}
	f.Add("", "77", ":x:9:9::/n:\n:x:0:0::/zero:\n", group) // no name is not the name ""
	f.Fuzz(func(t *testing.T, spec, add, passwd, group string) {
		want, wantErr := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, strings.NewReader(passwd), strings.NewReader(group))
		if wantErr == nil {
			wantErr = checkIDs(want)
		}
		got, err := lookUp(spec, strings.NewReader(passwd), strings.NewReader(group))
		if err == nil && wantErr == nil {
			if got.Uid != want.Uid || got.Gid != want.Gid || got.Home != want.Home || !slices.Equal(got.Sgids, want.Sgids) {
				t.Errorf("%q: %+v, want %+v", spec, got, want)
			}
		} else if wantErr == nil || err == nil && !strings.Contains(wantErr.Error(), "token too long") { // in a line that we need not read
			t.Errorf("%q: %v, want %v", spec, err, wantErr)
		}
		if add == "" {
			return
		}
		groups, wantErr := user.GetAdditionalGroups([]string{add, "10"}, strings.NewReader(group))
		lines, err := groupLines(strings.NewReader(group), []string{add, "10"})
		if err != nil {
			return
		}
		more, err := user.GetAdditionalGroups([]string{add, "10"}, strings.NewReader(lines))
		slices.Sort(groups)
		slices.Sort(more)
		if (err == nil) != (wantErr == nil) || !slices.Equal(groups, more) {
			t.Errorf("--group-add %q: %v, %v; want %v, %v", add, more, err, groups, wantErr)
		}
	})
}

// lines is a file of so many lines.
type lines struct {
	line  string
	count int
	rest  string
	read  int
}

func (l *lines) Read(p []byte) (int, error) {
	if l.rest == "" {
		if l.count == 0 {
			return 0, io.EOF
		}
		n := min(l.count, 1024)
		l.rest, l.count = strings.Repeat(l.line, n), l.count-n
	}
	n := copy(p, l.rest)
	l.rest, l.read = l.rest[n:], l.read+n
	return n, nil
}

// Of eight million lines that all match, one is read and kept.
func TestLookUpInHugeFiles(t *testing.T) {
	const count = 8 << 20
	passwd := &lines{line: "root:x:0:0::/root:\n", count: count}
	if u, err := lookUp("", passwd, strings.NewReader("")); err != nil || u.Home != "/root" || passwd.read > 1<<16 {
		t.Errorf("%+v, %v; %d bytes read", u, err, passwd.read)
	}
	passwd = &lines{line: "root:x:0:0::/root:\n", count: count}
	group := &lines{line: "root:x:0:root\n", count: count}
	if _, err := lookUp("root", passwd, group); err == nil || !strings.Contains(err.Error(), "more than 65536 groups") || group.read > 2<<20 {
		t.Errorf("%v; %d bytes read", err, group.read)
	}
	long := strings.Repeat("x", 2<<20)
	for _, files := range [][2]string{{long, ""}, {"root:x:0:0:::", long}} {
		if _, err := lookUp("", strings.NewReader(files[0]), strings.NewReader(files[1])); err == nil || !strings.Contains(err.Error(), "a line is longer than") {
			t.Errorf("a long line: %v", err)
		}
	}
}

// An ID cut to 32 bits would be another one: 2^32 would be root.
func TestLookUpRefusesIDs(t *testing.T) {
	for _, id := range []string{"4294967296", "4294967295", "-1"} {
		for _, files := range [][2]string{
			{fmt.Sprintf("ann:x:%s:1::/:", id), ""},
			{fmt.Sprintf("ann:x:1:%s::/:", id), ""},
			{"ann:x:1:1::/:", fmt.Sprintf("g:x:%s:ann", id)},
		} {
			if u, err := lookUp("ann", strings.NewReader(files[0]), strings.NewReader(files[1])); err == nil || !strings.Contains(err.Error(), id) {
				t.Errorf("%q: %+v, %v", files, u, err)
			}
		}
	}
}
