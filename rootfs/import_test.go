package rootfs

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

func TestImport(t *testing.T) {
	s := newStore(t)
	data := makeTar(t, file("etc/passwd", "root"))
	for _, name := range []string{"app:1", ""} {
		info, err := s.Import(context.Background(), bytes.NewReader(compressed(t, data)), ImportOptions{
			Name: name, Changes: []string{"CMD run it", "ENV A=b"}, Message: "by hand", Platform: "linux/riscv64",
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Describe(info.ID, "")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Join(got.Config.Cmd, " ") != "/bin/sh -c run it" || got.Comment != "by hand" || got.Architecture != "riscv64" ||
			got.Created == "" || len(got.RootFS.Layers) != 1 || got.RootFS.Layers[0] != digestOf(data) {
			t.Errorf("%+v", got)
		}
		if named := len(got.RepoTags) == 1; named != (name != "") {
			t.Errorf("%q", got.RepoTags)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	data := makeTar(t, file("etc/passwd", "root"))
	for _, tt := range []struct {
		data []byte
		o    ImportOptions
		want string
	}{
		{data[:len(data)-1024], ImportOptions{}, "truncated"},
		{data[:600], ImportOptions{}, "truncated"},
		{[]byte("text"), ImportOptions{}, "unexpected EOF"},
		{data, ImportOptions{Name: "UPPER"}, "lowercase"},
		{data, ImportOptions{Name: "x@sha256:" + strings.Repeat("a", 64)}, "cannot be an image's new name"},
		{data, ImportOptions{Platform: "plan9"}, "unknown operating system"},
		{data, ImportOptions{Changes: []string{"RUN true"}}, `"RUN" is not one of the instructions`},
	} {
		s := newStore(t)
		_, err := s.Import(context.Background(), bytes.NewReader(tt.data), tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v; want one with %q", tt.o, err, tt.want)
		}
		isEmpty(t, s)
	}
}

// dockerd 20.10 gives the same configurations, which the integration tests compare.
func TestChanges(t *testing.T) {
	for _, tt := range []struct{ changes, want string }{
		{`CMD ["a", "b c"]`, `{"Cmd":["a","b c"]}`},
		{`cmd a  b`, `{"Cmd":["/bin/sh","-c","a  b"]}`},
		{`ENTRYPOINT ["a"`, `{"Entrypoint":["/bin/sh","-c","[\"a\""]}`},
		{`ENV A=1 B="2 3" C='4 "5"' D=6\ 7|ENV A=8`, `{"Env":["A=8","B=2 3","C=4 \"5\"","D=6 7"]}`},
		{`ENV A some words`, `{"Env":["A=some words"]}`},
		{`LABEL a=b "c d"="e f"`, `{"Labels":{"a":"b","c d":"e f"}}`},
		{`EXPOSE 80 53/UDP 8000-8002`, `{"ExposedPorts":{"53/udp":{},"80/tcp":{},"8000/tcp":{},"8001/tcp":{},"8002/tcp":{}}}`},
		{`VOLUME ["/a b"]|VOLUME /c /d`, `{"Volumes":{"/a b":{},"/c":{},"/d":{}}}`},
		{`WORKDIR /a|WORKDIR b|WORKDIR ../c`, `{"WorkingDir":"/a/c"}`},
		{`USER 1:2|STOPSIGNAL SIGQUIT|ONBUILD RUN a b`, `{"User":"1:2","OnBuild":["RUN a b"],"StopSignal":"SIGQUIT"}`},
		{`ENV`, "not an instruction with a value"},
		{``, "not an instruction with a value"},
		{`ENV A`, "it has no value"},
		{`ENV A="b`, "a quote is not closed"},
		{`LABEL a=b c`, `"c" is not NAME=VALUE`},
		{`EXPOSE 99999`, `"99999" is not a port`},
		{`EXPOSE 80/http`, `"80/http" is not a port`},
		{`HEALTHCHECK NONE`, `"HEALTHCHECK" is not one of the instructions`},
	} {
		var c ImageConfig
		var err error
		for _, change := range strings.Split(tt.changes, "|") {
			if err == nil {
				err = c.apply(change)
			}
		}
		got, _ := json.Marshal(c)
		if err != nil {
			got = []byte(err.Error())
		}
		if err == nil && string(got) != tt.want || err != nil && !strings.Contains(string(got), tt.want) {
			t.Errorf("%s: %s, want %s", tt.changes, got, tt.want)
		}
	}
}
