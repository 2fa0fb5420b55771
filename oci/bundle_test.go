package oci

import (
	stdjson "encoding/json"
	"reflect"
	"strings"
	"testing"

	json "github.com/go-json-experiment/json/v1"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// A config.json means what it means to the standard library, with which engines and runc
// write and read it.
func TestConfigMeansTheSame(t *testing.T) {
	deep := strings.Repeat(`{"x":[`, 200) + strings.Repeat(`]}`, 200)
	for _, text := range []string{
		`{"ociVersion":"1.2.0","process":{"args":["a","b"],"cwd":"/","rlimits":[{"type":"RLIMIT_CORE","hard":18446744073709551615,"soft":1}]}}`,
		`{"Process":{"ARGS":["a"],"Cwd":"/"},"LINUX":{"rootfsPropagation":"shared"}}`, // names in another case
		`{"hostname":"a","hostname":"b"}`,
		`{"hostname":"a","Hostname":"b"}`,
		`{"process":{"args":["a","b"]},"process":{"args":["c"],"cwd":"/"}}`,
		`{"annotations":{"a":"1"},"annotations":{"b":"2"}}`,
		`{"mounts":null,"process":null,"linux":{"resources":{"pids":{"limit":0}}}}`,
		`{"mounts":[],"linux":{"namespaces":[{"type":"pid"}],"devices":[{"path":"/dev/a","type":"c","major":-1,"fileMode":438}]}}`,
		`{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}}}`,
		`{"windows":{"network":{"dnsSearchList":["a"]}},"unknown":` + deep + `}`,
		"{\"hostname\":\"\xff\\ud800\"}", // no valid UTF-8
		`{"hostname":"\u003c"} `,
		`{"hostname":1}`,
		`{"process":{"user":{"uid":-1}}}`,
		`{"process":{"user":{"uid":4294967296}}}`,
		`{"process":{"user":{"uid":1e3}}}`,
		`{"process":[]}`,
		`{"hostname":"a"} {}`,
		`{"hostname":"a"`,
		`[]`,
		`null`,
		``,
	} {
		var got, want specs.Spec
		err, werr := json.Unmarshal([]byte(text), &got), stdjson.Unmarshal([]byte(text), &want)
		if (err == nil) != (werr == nil) {
			t.Errorf("%.60s: %v, want %v", text, err, werr)
			continue
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%.60s: %s", text, cmp.Diff(want, got))
		}
	}
}
