package launcher

/*
#include "kept.h"
*/
import "C"

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"
)

// launchTexts are the rest: of the page, the state and the record.
func (w *keptWriter) launchTexts(r *record) {
	l, s, h := w.l, w.c.state, &w.head
	h.args, h.env = w.texts(w.fixedArgs()), w.texts(l.o.Spec.Process.Env)
	h.cgroups, h.mounts = w.texts(l.cgroup.dirs()), w.texts(l.o.Rest.Mounts)
	if l.o.Interactive {
		h.interactive = 1
	}
	if l.o.Spec.Process.Terminal {
		h.terminal = 1
	}
	h.kill_after, h.stop, h.keep, h.kills = r.head.kill_after, r.head.stop, r.head.keep, r.head.kills
	h.adjectives, h.animals = w.raw(adjectives), w.raw(animals)
	if w.k.Named {
		h.adjectives, h.animals = w.raw(s.Name), w.raw("")
	}
	h.containers, h.image, h.run_root = w.raw(filepath.Dir(w.c.dir)), w.raw(w.k.Image), w.raw(s.RunRoot)
	h.directory, h.state, h.launch = w.text(w.c.dir), w.text(s.file()), w.text(s.launchFile())
	h.workdir = w.text(l.o.Spec.Process.Cwd)
	if fixed := w.fixedArgs(); len(fixed) > 0 {
		h.command = w.text(fixed[0])
	} else {
		h.command = w.raw("\x01f")
	}
	h.launch_text = w.raw(w.commandText("args", w.deviceText(w.referring(string(l.launch)))))
	fresh := State{Name: s.Name, ID: s.ID, Owner: s.Owner, Status: StatusCreating, RunRoot: s.RunRoot}
	h.new_text, h.state_text = w.stateText(fresh), w.stateText(s)
}

// fixedArgs are the arguments of the command before the words, and are the same in each launch.
func (w *keptWriter) fixedArgs() []string {
	args := w.l.o.Spec.Process.Args
	return args[:len(args)-len(w.k.Words)]
}

// commandText replaces the words of the command in a text in JSON.
func (w *keptWriter) commandText(name, text string) string {
	if len(w.k.Words) == 0 {
		return text
	}
	whole, err := json.Marshal(w.l.o.Spec.Process.Args)
	if err != nil {
		w.fail("%v", err)
	}
	fixed, err := json.Marshal(append(slices.Clone(w.fixedArgs()), ""))
	if err != nil {
		w.fail("%v", err)
	}
	name = `"` + name + `":`
	return w.replace(text, name+string(whole), name+strings.TrimSuffix(string(fixed), `""]`)+"\x01w]")
}

// stateText is a state with references for the process and the times.
func (w *keptWriter) stateText(s State) C.uint32_t {
	data, err := json.Marshal(&s)
	if err != nil {
		w.fail("%v", err)
	}
	text := w.refer.Replace(string(data))
	if s.PID == 0 {
		return w.raw(text)
	}
	text = w.commandText("command", text)
	at := func(t time.Time) string {
		data, _ := json.Marshal(t)
		return string(data)
	}
	for _, v := range [][3]string{
		{`"pid":`, strconv.Itoa(s.PID), "\x01p"},
		{`"startTime":`, strconv.FormatUint(s.StartTime, 10), "\x01t"},
		{`"created":`, at(s.Created), "\"\x01c\""},
		{`"started":`, at(s.Started), "\"\x01r\""},
	} {
		text = w.replace(text, v[0]+v[1], v[0]+v[2])
	}
	return w.raw(text)
}

// replace replaces what a text says once by a reference.
func (w *keptWriter) replace(text, said, reference string) string {
	if strings.Count(text, said) != 1 {
		w.fail("a text does not say %s once", said)
	}
	return strings.Replace(text, said, reference, 1)
}
