package rootfs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// What dockerd 20.10 takes is taken, and what it refuses gets an error that
// names the field.
func TestParseConfig(t *testing.T) {
	for _, tt := range []struct{ config, want string }{
		{`{}`, ""},
		{`{"config":null}`, ""},
		{`{"config":{"Cmd":"run"}}`, "run"},
		{`{"config":{"cmd":["run","it"]}}`, "run it"},
		{`{"config":{"Cmd":null,"Entrypoint":"run"}}`, "run"},
		{`{"config":{"Volumes":{"/x":null,"/y":{"a":1}},"Env":["A","",  "B=c"]}}`, ""},
		{`{"config":{"ExposedPorts":{"80/tcp":{}},"Healthcheck":"no"}}`, ""},
		{`{"config":{"ExposedPorts":7}}`, "config.ExposedPorts has a JSON number where an object is needed"},
		{`{"config":{"Cmd":7}}`, "config.Cmd has a JSON number where a list of strings is needed"},
		{`{"config":{"Entrypoint":{"a":1}}}`, "config.Entrypoint has a JSON object where a list of strings is needed"},
		{`{"config":{"Cmd":["a",7]}}`, "config.Cmd has a JSON number where a string is needed"},
		{`{"config":{"Env":"A=b"}}`, "config.Env has a JSON string where a list of strings is needed"},
		{`{"config":{"Env":["=b"]}}`, `the entry "=b" of config.Env`},
		{`{"config":{"Env":["A=b\u0000c"]}}`, `the entry "A=b\x00c" of config.Env`},
		{`{"config":{"User":7}}`, "config.User has a JSON number where a string is needed"},
		{`{"config":{"Volumes":["/x"]}}`, "config.Volumes has a JSON array where an object is needed"},
		{`{"config":{"Labels":{"a":1}}}`, "config.Labels has a JSON number where a string is needed"},
		{`{"config":"x"}`, "config has a JSON string where an object is needed"},
		{`{"rootfs":{"diff_ids":["sha256:1"]}}`, `diff_id "sha256:1" is not a SHA-256`},
		{`{"created":"yesterday"}`, `created is "yesterday", which is not a time`},
		{`[]`, "it has a JSON array where an object is needed"},
		{`{`, "unexpected end"},
	} {
		c, err := parseConfig([]byte(tt.config))
		if err != nil {
			if tt.want == "" || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "image configuration: ") {
				t.Errorf("%s: %v; want %q", tt.config, err, tt.want)
			}
			continue
		}
		if got := strings.Join(slices.Concat(c.Config.Entrypoint, c.Config.Cmd), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.config, got, tt.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["a"],"Env":["A=b"],"Volumes":{"/x":{}}},"rootfs":{"diff_ids":[]}}`))
	f.Add([]byte(`{"config":{"Cmd":"a","Entrypoint":null},"created":"2001-02-03T04:05:06Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		if _, err := parseConfig(again); err != nil {
			t.Errorf("%s: written as %s: %v", data, again, err)
		}
	})
}
