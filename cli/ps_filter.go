package cli

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// psFilter is what the --filter flags of ps ask for. As with docker, one of the values of a
// key has to match, but all labels.
type psFilter struct {
	values        map[string][]string
	before, since time.Time
}

// psFilterKeys returns the filters of docker ps that make sense for minirun.
func psFilterKeys() []string {
	return []string{"ancestor", "before", "exited", "id", "label", "name", "since", "status"}
}

func psFilters(k *completer, before, _ string) {
	for _, key := range psFilterKeys() {
		k.candidate(before, key+"=", "")
	}
}

func psStates() []string {
	return []string{"created", "restarting", "running", "removing", "paused", "exited", "dead"}
}

func newPSFilter(texts []string) (*psFilter, error) {
	f := &psFilter{values: map[string][]string{}}
	for _, text := range texts {
		key, value, ok := strings.Cut(text, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		value = strings.TrimSpace(value)
		switch {
		case !ok:
			return nil, &usageError{"--filter " + text + ": invalid argument", "write KEY=VALUE, for example status=exited"}
		case !slices.Contains(psFilterKeys(), key):
			return nil, &usageError{"--filter " + text + ": invalid filter '" + key + "'", "the filters are " + strings.Join(psFilterKeys(), ", ")}
		case key == "status" && !slices.Contains(psStates(), value):
			return nil, &usageError{"--filter " + text + ": invalid filter 'status=" + value + "'", "the states are " + strings.Join(psStates(), ", ")}
		}
		if _, err := strconv.Atoi(value); key == "exited" && err != nil {
			return nil, &usageError{"--filter " + text + ": not a number", "write an exit status, for example exited=1"}
		}
		if _, err := regexp.Compile(value); (key == "name" || key == "id") && err != nil {
			return nil, &usageError{"--filter " + text + ": " + err.Error(), "the value is a regular expression"}
		}
		f.values[key] = append(f.values[key], value)
	}
	return f, nil
}

// resolve looks up the containers that before and since name.
func (f *psFilter) resolve(all []containerView) error {
	for key, to := range map[string]*time.Time{"before": &f.before, "since": &f.since} {
		for _, name := range f.values[key] {
			i := slices.IndexFunc(all, func(v containerView) bool { return v.Name == name || len(name) >= 12 && strings.HasPrefix(v.ID, name) })
			if i < 0 {
				return noSuchContainer(name)
			}
			*to = all[i].Created
		}
	}
	return nil
}

// anyStatus reports whether containers that do not run can match, too.
func (f *psFilter) anyStatus() bool {
	for _, key := range []string{"status", "exited", "before", "since"} {
		if len(f.values[key]) > 0 {
			return true
		}
	}
	return false
}

func (f *psFilter) matches(v containerView) bool {
	some := func(key string, match func(value string) bool) bool {
		return len(f.values[key]) == 0 || slices.ContainsFunc(f.values[key], match)
	}
	return some("id", func(value string) bool { return strings.HasPrefix(v.ID, value) }) &&
		some("name", func(value string) bool {
			ok, _ := regexp.MatchString(strings.TrimPrefix(value, "/"), v.Name)
			return ok
		}) &&
		some("status", func(value string) bool { return value == v.state() }) &&
		some("exited", func(value string) bool { return v.state() == "exited" && value == strconv.Itoa(v.ExitCode) }) &&
		some("ancestor", func(value string) bool { return sameImage(value, v.Image) }) &&
		(f.before.IsZero() || v.Created.Before(f.before)) && (f.since.IsZero() || v.Created.After(f.since)) &&
		f.matchesLabels(v)
}

func (f *psFilter) matchesLabels(v containerView) bool {
	if len(f.values["label"]) == 0 {
		return true
	}
	labels := v.launch.Labels
	for _, wanted := range f.values["label"] {
		key, value, both := strings.Cut(wanted, "=")
		if has, ok := labels[key]; !ok || both && has != value {
			return false
		}
	}
	return true
}

// sameImage reports whether two names stand for the same image, by their text.
func sameImage(a, b string) bool {
	whole := func(name string) string {
		name = familiar(name)
		if repository, tag := splitTag(name); tag == "" && !strings.Contains(name, "@") {
			return repository + ":latest"
		}
		return name
	}
	return whole(a) == whole(b)
}
