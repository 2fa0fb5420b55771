package seccomp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// complaint is what Parse should say at one of the marks » of a source.
type complaint struct{ message, hint string }

// marked removes the marks from a source and returns their positions.
func marked(source string) (plain string, places []string) {
	line, column := 1, 1
	var b strings.Builder
	for _, r := range source {
		switch r {
		case '»':
			places = append(places, fmt.Sprintf("p.json:%d:%d: ", line, column))
			continue
		case '\n':
			line, column = line+1, 0
			fallthrough
		default:
			column += len(string(r))
			b.WriteRune(r)
		}
	}
	return b.String(), places
}

// rule is a profile with one rule, on its second line.
func rule(members string) string {
	return "{\"defaultAction\": \"SCMP_ACT_ERRNO\", \"syscalls\": [\n" + members + "\n]}"
}

func TestParseComplaints(t *testing.T) {
	for name, tt := range map[string]struct {
		source string
		want   []complaint
	}{
		"no object": {`»[]`, []complaint{{"the profile must be an object", ""}}},
		"null":      {` »null`, []complaint{{"the profile must be an object", ""}}},
		"empty object": {`»{}`, []complaint{{
			"the profile has no defaultAction",
			string(CauseEmptyObject),
		}}},
		"no default action": {`»{"syscalls": []}`, []complaint{{
			"the profile has no defaultAction",
			`the key "defaultAction" is required; SCMP_ACT_ERRNO denies what no rule allows`,
		}}},
		"unknown key": {"{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n  »\"defaultErnoRet\": 1}", []complaint{{
			`unknown key "defaultErnoRet" in the profile`, "did you mean defaultErrnoRet?",
		}}},
		"misspelt default action": {`{»"defaultActoin": "SCMP_ACT_ALLOW"}`, []complaint{{
			`unknown key "defaultActoin" in the profile`, "did you mean defaultAction?",
		}}},
		"misspelt keys of a rule": {rule(`{»"nmaes": ["read"], »"acton": "SCMP_ACT_ALLOW", "args": [{"index": 0, »"opp": "SCMP_CMP_EQ"}]}`), []complaint{
			{`unknown key "nmaes" in a rule`, "did you mean names?"},
			{`unknown key "acton" in a rule`, "did you mean action?"},
			{`unknown key "opp" in a condition`, "did you mean op?"},
		}},
		"misspelt and right": {rule(`{"names": ["read"], »"name_": "write", »"acton": "SCMP_ACT_LOG", "action": "SCMP_ACT_ALLOW"}`), []complaint{
			{`unknown key "name_" in a rule`, "did you mean name?"},
			{`unknown key "acton" in a rule`, "did you mean action?"},
		}},
		"key in another case, twice": {`{"DefaultAction": "SCMP_ACT_ALLOW", »"defaultAction": "SCMP_ACT_ERRNO"}`, []complaint{
			{`duplicate key "defaultAction"`, "remove one of the two"},
		}},
		"no note": {`{"defaultAction": "SCMP_ACT_ALLOW", »"default": "deny", »"mode": "SCMP_ACT_ERRNO", »"other": ["read"]}`, []complaint{
			{`unknown key "default" in the profile`, "did you mean defaultAction?"},
			{`unknown key "mode" in the profile`, "there are archMap, architectures, defaultAction, defaultErrno, defaultErrnoRet, flags, listenerMetadata, listenerPath, syscalls"},
			{`unknown key "other" in the profile`, "there are archMap, architectures, defaultAction, defaultErrno, defaultErrnoRet, flags, listenerMetadata, listenerPath, syscalls"},
		}},
		"no note of a rule": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", »"capabilities": "CAP_KILL", "description": "fine"}`), []complaint{
			{`unknown key "capabilities" in a rule`, "there are action, args, comment, errno, errnoRet, excludes, includes, name, names"},
		}},
		"unknown key of a rule": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", »"arg": []}`), []complaint{{
			`unknown key "arg" in a rule`, "did you mean args?",
		}}},
		"unknown key of a condition": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", »"valueTow": 1}]}`), []complaint{{
			`unknown key "valueTow" in a condition`, "did you mean valueTwo?",
		}}},
		"unknown key of includes": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {»"zz": []}}`), []complaint{{
			`unknown key "zz" in includes`, "there are arches, caps, minKernel",
		}}},
		"unknown key of archMap": {`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", »"subArchitecture": []}]}`, []complaint{{
			`unknown key "subArchitecture" in an element of archMap`, "did you mean subArchitectures?",
		}}},
		"duplicate key": {`{"defaultAction": "SCMP_ACT_ALLOW", »"defaultAction": "SCMP_ACT_ERRNO"}`, []complaint{{
			`duplicate key "defaultAction"`, "remove one of the two",
		}}},
		"duplicate key by an escape": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", »"\u0061ction": "SCMP_ACT_LOG"}`), []complaint{{
			`duplicate key "action"`, "remove one of the two",
		}}},
		"wrong types": {
			`{"defaultAction": »1, "defaultErrnoRet": »"1", "defaultErrno": »2, "architectures": »{}, "flags": »"x", "listenerPath": »[], "listenerMetadata": »true, "syscalls": »"read"}`,
			[]complaint{
				{"action must be a string", ""},
				{"defaultErrnoRet must be a number", ""},
				{"an errno's name must be a string", ""},
				{"architecture list must be a list", ""},
				{"flag list must be a list", ""},
				{"listenerPath must be a string", ""},
				{"listenerMetadata must be a string", ""},
				{"syscalls must be a list", ""},
			},
		},
		"wrong types in archMap": {
			`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [»"amd64", {"architecture": »[], "subArchitectures": »"x"}]}`,
			[]complaint{
				{"an element of archMap must be an object", ""},
				{"architecture must be a string", ""},
				{"architecture list must be a list", ""},
			},
		},
		"wrong types in rules": {
			rule(`»"read", »null, {"names": [»1], "action": »[], "errnoRet": »"EPERM", "errno": »1, "comment": »2, "args": [»3, »null], "includes": »4, "excludes": {"caps": »"CAP_KILL", "arches": [»5], "minKernel": »4.8}}`),
			[]complaint{
				{"a rule must be an object", ""},
				{"a rule must be an object", ""},
				{"a system call's name must be a string", ""},
				{"action must be a string", ""},
				{"errnoRet must be a number", ""},
				{"an errno's name must be a string", ""},
				{"comment must be a string", ""},
				{"a condition must be an object", ""},
				{"a condition must be an object", ""},
				{"includes must be an object", ""},
				{"capability list must be a list", ""},
				{"architecture must be a string", ""},
				{"minKernel must be a string", ""},
			},
		},
		"unknown default action": {`{"defaultAction": »"SCMP_ACT_ERNO"}`, []complaint{{
			`unknown action "SCMP_ACT_ERNO"`, "did you mean SCMP_ACT_ERRNO?",
		}}},
		"empty default action": {`{"defaultAction": »""}`, []complaint{{
			`unknown action ""`,
			"there are SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE, SCMP_ACT_TRAP",
		}}},
		"unknown action": {rule(`{"names": ["read"], "action": »"allow"}`), []complaint{{
			`unknown action "allow"`, "did you mean SCMP_ACT_ALLOW?",
		}}},
		"no action": {rule(`»{"names": ["read"]}`), []complaint{{
			"the rule has no action", `give "action": "SCMP_ACT_ALLOW", for example`,
		}}},
		"unknown operator": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": »"SCMP_CMP_EQUAL"}]}`), []complaint{{
			`unknown operator "SCMP_CMP_EQUAL"`, "did you mean SCMP_CMP_EQ?",
		}}},
		"no operator": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [»{"index": 0}]}`), []complaint{{
			"the condition has no operator", `give "op": "SCMP_CMP_EQ", for example`,
		}}},
		"unknown architecture": {`{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", »"SCMP_ARCH_X8632"]}`, []complaint{{
			`unknown architecture "SCMP_ARCH_X8632"`, "did you mean SCMP_ARCH_X86?",
		}}},
		"unknown architecture in archMap": {`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": »"amd64", "subArchitectures": [»"x32"]}]}`, []complaint{
			{`unknown architecture "amd64"`, "did you mean SCMP_ARCH_X86_64?"},
			{`unknown architecture "x32"`, "did you mean SCMP_ARCH_X32?"},
		}},
		"unknown host architecture": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": [»"SCMP_ARCH_ARM", »"x86_64", »"arm46"]}}`), []complaint{
			{`unknown architecture "SCMP_ARCH_ARM"`, "did you mean arm?"},
			{`unknown architecture "x86_64"`, "did you mean amd64?"},
			{`unknown architecture "arm46"`, "did you mean arm64?"},
		}},
		"unknown flag": {`{"defaultAction": "SCMP_ACT_ALLOW", "flags": [»"SECCOMP_FILTER_FLAG_LOGS"]}`, []complaint{{
			`unknown flag "SECCOMP_FILTER_FLAG_LOGS"`, "did you mean SECCOMP_FILTER_FLAG_LOG?",
		}}},
		"unknown capability": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": [»"SYS_ADMIN", »"sys_admin"]}, "excludes": {"caps": ["CAP_KILL", »"CAP_SYS_ADMNI"]}}`), []complaint{
			{`unknown capability "SYS_ADMIN"`, "did you mean CAP_SYS_ADMIN?"},
			{`unknown capability "sys_admin"`, "did you mean CAP_SYS_ADMIN?"},
			{`unknown capability "CAP_SYS_ADMNI"`, "did you mean CAP_SYS_ADMIN?"},
		}},
		"unknown errno": {rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": »"EPREM"}`), []complaint{{
			`unknown errno "EPREM"`, "did you mean EPERM?",
		}}},
		"unknown default errno": {`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": »"ENOSY"}`, []complaint{{
			`unknown errno "ENOSY"`, "did you mean ENOSYS?",
		}}},
		"errno and another errnoRet": {rule(`{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "errno": »"ENOSYS"}`), []complaint{{
			"errno ENOSYS is 38, but the number given is 1", "use one of the two",
		}}},
		"name and names": {rule(`{"names": ["read"], "name": »"write", "action": "SCMP_ACT_ALLOW"}`), []complaint{{
			"both name and names are given", "use names",
		}}},
		"no names": {rule(`»{"action": "SCMP_ACT_ALLOW"}`), []complaint{{
			"the rule names no system call", `give "names": ["CALL"]`,
		}}},
		"list of names as name": {rule(`{"name": »["read"], "action": "SCMP_ACT_ALLOW"}`), []complaint{{
			"name must be a string", `write "names" for a list`,
		}}},
		"name of another kind": {rule(`{"name": »1, "action": "SCMP_ACT_ALLOW"}`), []complaint{{
			"a system call's name must be a string", "",
		}}},
		"empty name": {rule(`{"names": ["read", »""], "action": "SCMP_ACT_ALLOW"}`), []complaint{{
			"a system call's name is empty", "",
		}}},
		"architectures and archMap": {
			`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": »[{"architecture": "SCMP_ARCH_X86_64"}], "architectures": ["SCMP_ARCH_X86_64"]}`,
			[]complaint{{"both architectures and archMap are given", "use one of the two"}},
		},
		"argument index": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": »6, "op": "SCMP_CMP_EQ"}, {"index": »-1, "op": "SCMP_CMP_EQ"}]}`), []complaint{
			{"argument index 6 is not a whole number from 0 to 5", ""},
			{"argument index -1 is not a whole number from 0 to 5", ""},
		}},
		"value": {rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": »18446744073709551616, "valueTwo": »1.5}]}`), []complaint{
			{"value 18446744073709551616 is not a whole number from 0 to 18446744073709551615", ""},
			{"valueTwo 1.5 is not a whole number from 0 to 18446744073709551615", ""},
		}},
		"errno number": {
			`{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": »4096, "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": »65537}]}`,
			[]complaint{
				{"defaultErrnoRet 4096 is not a whole number from 0 to 4095", ""},
				{"errnoRet 65537 is not a whole number from 0 to 4095", ""},
			},
		},
		"kernels": {
			rule(`{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": »"4"}, "excludes": {"minKernel": »"4.8.1"}}, {"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": »""}, "excludes": {"minKernel": »"0.0"}}`),
			[]complaint{
				{`minKernel: kernel version "4" is not of the form X.Y, such as 4.8`, ""},
				{`minKernel: kernel version "4.8.1" is not of the form X.Y, such as 4.8`, ""},
				{`minKernel: kernel version "" is not of the form X.Y, such as 4.8`, ""},
				{`minKernel: kernel version "0.0" is not of the form X.Y, such as 4.8`, ""},
			},
		},
		"columns count bytes": {rule(`{"comment": "größer", "names": ["read"], "action": »"SCMP_ACT_ALOW"}`), []complaint{{
			`unknown action "SCMP_ACT_ALOW"`, "did you mean SCMP_ACT_ALLOW?",
		}}},
		"many, in the order of the file": {
			"{\n  »\"defaultActio\": \"x\",\n  \"syscalls\": [\n    {\"names\": [\"read\"], \"action\": »\"A\"},\n    »{\"action\": \"SCMP_ACT_ALLOW\"}\n  ],\n  \"defaultAction\": »\"B\"\n}\n",
			[]complaint{
				{`unknown key "defaultActio" in the profile`, "did you mean defaultAction?"},
				{`unknown action "A"`, "there are " + strings.Join(actionNames, ", ")},
				{"the rule names no system call", `give "names": ["CALL"]`},
				{`unknown action "B"`, "there are " + strings.Join(actionNames, ", ")},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkComplaints(t, tt.source, tt.want)
		})
	}
}

// checkComplaints compares the problems of a source with the wanted ones, whose positions are
// the source's marks.
func checkComplaints(t *testing.T, marks string, wanted []complaint) {
	t.Helper()
	source, places := marked(marks)
	if len(places) != len(wanted) {
		t.Fatalf("the source has %d marks for %d complaints", len(places), len(wanted))
	}
	var want []complaint
	for i, c := range wanted {
		want = append(want, complaint{places[i] + c.message, c.hint})
	}
	if diff := cmp.Diff(want, complaints(t, source), cmp.AllowUnexported(complaint{})); diff != "" {
		t.Errorf("complaints (-want +got):\n%s", diff)
	}
}

func complaints(t *testing.T, source string) []complaint {
	t.Helper()
	_, err := Parse("p.json", []byte(source))
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Parse gives %v, not Problems", err)
	}
	var all []complaint
	for _, p := range problems {
		all = append(all, complaint{p.Error(), p.Fix + string(p.Cause)})
	}
	return all
}
