package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/jsonlog"
	"github.com/minirun/minirun/launcher"
)

func (a *app) logsCommand() *ucli.Command {
	return &ucli.Command{
		Name:      "logs",
		Usage:     "print the output of a container in the background",
		ArgsUsage: "CONTAINER",
		Description: `Prints what a container wrote that -d or 'minirun start' started: its standard output to
standard output, its standard error and minirun's own messages to standard error. TIME is a
date such as 2026-01-02T15:04:05Z, seconds since 1970, or how long ago: 10m.`,
		Flags: []ucli.Flag{
			toggle("", "follow", "f", "go on until the container ends"),
			text("", "since", "", "print only what came at `TIME` or later"),
			text("", "until", "", "print only what came before `TIME`"),
			choice("", "tail", "all", "print only the last `N` lines").with(oneOf("all")),
			toggle("", "timestamps", "t", "print the time before each line"),
			toggle("", "details", "", "print before each line what --log-opt tag=, labels= and env= name"),
		},
		Action: a.logsAction,
	}
}

func (a *app) logsAction(c *ucli.Context) error {
	if err := checkArgs(c, 1, 1); err != nil {
		return err
	}
	now := time.Now()
	q := jsonlog.Query{Tail: -1}
	var err error
	if q.Since, err = logTime("since", c.String("since"), now); err != nil {
		return err
	}
	if q.Until, err = logTime("until", c.String("until"), now); err != nil {
		return err
	}
	if n, err := strconv.Atoi(c.String("tail")); err == nil { // any other value means all, as with docker
		q.Tail = n
	}
	container, err := a.findContainer(c, c.Args().First())
	if err != nil {
		return err
	}
	log := filepath.Join(container.Dir(), logFile)
	_, err = os.Stat(log)
	if errors.Is(err, os.ErrNotExist) && container.Known().Unstarted() {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return refused("its output is its minirun's own; with -d there is a log, unless --log-driver none", "container %s has no log", printable(c.Args().First()))
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if c.Bool("follow") {
		dir, err := os.Open(container.Dir())
		if err != nil {
			return &containerError{err: err}
		}
		defer dir.Close()
		log = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), logFile) // the container may get another name
		q.Follow = ends(ctx, container)
	}
	before := ""
	if c.Bool("details") {
		if before, err = logDetails(container); err != nil {
			return &containerError{err: err}
		}
	}
	return a.copyLog(ctx, log, q, c.Bool("timestamps"), before)
}

// logDetails returns what docker logs --details prints before each line: the log's tag, and the
// labels and variables that its options name. Docker writes them into each entry. They are the
// same as long as a container runs, so here the record of the launch has them.
func logDetails(container *launcher.Container) (string, error) {
	launch, err := container.Launch()
	if err != nil {
		return "", err
	}
	env := map[string]string{}
	for _, pair := range launch.Process.Env {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	shown := map[string]string{}
	for _, option := range logOptions(launch) {
		name, value, _ := strings.Cut(option, "=")
		from := map[string]map[string]string{"labels": launch.Labels, "env": env}[strings.TrimSuffix(name, "-regex")]
		names, isRegex := strings.Split(value, ","), strings.HasSuffix(name, "-regex")
		for key, text := range from {
			chosen := slices.Contains(names, key)
			if isRegex {
				chosen, _ = regexp.MatchString(value, key) // setLogOption has compiled it
			}
			if chosen {
				shown[key] = text
			}
		}
	}
	if launch.LogTag != "" {
		shown["tag"] = launch.LogTag
	}
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		pairs = append(pairs, url.QueryEscape(key)+"="+url.QueryEscape(shown[key]))
	}
	return strings.Join(pairs, ",") + " ", nil
}

func logOptions(launch *launcher.Launch) []string {
	if launch.Again == nil {
		return nil
	}
	return launch.Again.Flags["log-opt"]
}

// ends returns a channel that is closed when the launcher has finished with the container.
func ends(ctx context.Context, container *launcher.Container) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = container.WaitEnd(ctx)
	}()
	return ended
}

// timeFormat is the format of docker logs -t: RFC 3339 with nine digits.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

func (a *app) copyLog(ctx context.Context, log string, q jsonlog.Query, times bool, before string) error {
	err := unlessUnread(ctx, func() error { return a.printLog(ctx, log, q, times, before) })
	if errors.Is(err, os.ErrNotExist) && q.Follow != nil {
		return nil // it has been removed
	}
	return causeOf(ctx, err)
}

// unlessUnread returns what show does, or some time after ctx its cause: what is printed may
// have no reader.
func unlessUnread(ctx context.Context, show func() error) error {
	printed := make(chan error, 1)
	go func() { printed <- show() }()
	select {
	case err := <-printed:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-printed:
		return err
	case <-time.After(patienceWithReader):
		return context.Cause(ctx)
	}
}

func (a *app) printLog(ctx context.Context, log string, q jsonlog.Query, times bool, before string) error {
	return jsonlog.Read(ctx, log, q, func(e jsonlog.Entry) error {
		to, text := a.stdout, before+e.Log
		if e.Stream == "stderr" {
			to = a.stderr
		}
		if times {
			text = e.Time.Format(timeFormat) + " " + text
		}
		_, err := to.WriteString(text)
		return err
	})
}

// logTime reads a time of --since or --until.
func logTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	if seconds, fraction, _ := strings.Cut(text, "."); len(fraction) <= 9 {
		s, err := strconv.ParseInt(seconds, 10, 64)
		n, ferr := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err == nil && ferr == nil && n >= 0 {
			return time.Unix(s, n), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, refused("write for example 2026-01-02T15:04:05Z, or 10m",
		`invalid value for "%s": failed to parse value as time or duration: %q`, flag, text)
}
