package cli

import (
	"strings"

	"github.com/minirun/minirun/profiles"
	"github.com/minirun/minirun/seccomp/analyze"
)

// explanation is an analysis for JSON, with its remedies in words.
type explanation struct {
	*analyze.Explanation
	Changes []change `json:"changes,omitempty"`
}

// change is a remedy in words.
type change struct {
	Kind analyze.RemedyKind `json:"kind"`
	How  string             `json:"how"`
	When string             `json:"when,omitempty"`
	Rule string             `json:"rule,omitempty"`

	brief string // How in few words, or ""
}

// inWords adds the remedies to an explanation, in words. profile is the file that was
// explained.
func inWords(x *analyze.Explanation, profile string) explanation {
	e := explanation{Explanation: x}
	for _, r := range x.Remedies {
		c := change{Kind: r.Kind, How: r.Arguments, When: r.When, Rule: r.Rule, brief: r.Brief}
		switch r.Kind {
		case analyze.RemedyCapability:
			c.How = capabilityFlags(r.Add, r.Drop)
		case analyze.RemedyEdit:
			base := ""
			if profile != profiles.DefaultName {
				base = "--base " + shellWord(profile) + " "
			}
			c.How = "minirun seccomp edit " + base + "--" + string(r.Edit.Action) + " " + strings.Join(r.Edit.Names, ",")
		}
		e.Changes = append(e.Changes, c)
	}
	return e
}

// capabilityFlags are the flags for a change of capabilities.
func capabilityFlags(add, drop []string) string {
	var flags []string
	for _, name := range add {
		flags = append(flags, "--cap-add "+name)
	}
	for _, name := range drop {
		flags = append(flags, "--cap-drop "+name)
	}
	return strings.Join(flags, " ")
}

// shellWord returns a word for a shell, quoted if necessary.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+=:,@%", r)
	}
	if text != "" && !strings.ContainsFunc(text, func(r rune) bool { return !plain(r) }) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// overviewTitle returns what a group of calls has in common.
func overviewTitle(o analyze.Overview) string {
	title := o.Verdict
	if title == analyze.Depends {
		return "its arguments decide"
	}
	if len(o.Add)+len(o.Drop) > 0 {
		title += ", open with " + capabilityFlags(o.Add, o.Drop)
	}
	if o.SomeArguments {
		title += " for some arguments"
	}
	return title
}
