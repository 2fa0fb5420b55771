package cli

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/launcher"
	"github.com/minirun/minirun/oci"
	"github.com/minirun/minirun/seccomp"
)

// observeForEngine sets up the observation of an engine's container, which works as that of
// `run` with --explain, --complain and --record.
func observeForEngine(w oci.Observation) (o launcher.Options, finish func() error, err error) {
	a := &app{ui: &ui{w: w.Text}}
	if w.Program != nil {
		o.Filter, o.FilterFlags = w.Program.Instructions, w.Program.Flags
		if w.Program.Listener {
			o.FilterFlags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
			o.Agent = &launcher.Agent{} // the engine's
		}
	}
	var r *recording
	if w.Record != "" {
		if r, err = a.recordingTo(w.Record, false, w.Capabilities); err != nil {
			return o, nil, err
		}
	}
	var reports *liveReports
	if w.Explain || w.Complain {
		filter := reported{program: w.Program}
		if w.Policy != nil {
			filter.profile, filter.policy = w.Policy.Profile.File, func() (*seccomp.Policy, error) { return w.Policy, nil }
		}
		reports = &liveReports{reported: filter, app: a, complain: w.Complain, capabilities: w.Capabilities, file: w.Lines}
		if w.Lines != nil {
			reports.path = w.Lines.Name()
		}
		if err := reports.setUp(&o); err != nil {
			return o, nil, err
		}
		if o.Observe != nil && o.Observe.Spare != nil { // the filter is loaded before there is a watch
			o.Filter, o.FilterFlags = o.Observe.Spare, o.Observe.SpareFlags
			o.Observe.Spare = nil
		}
	}
	if err := r.observe(&o, reports); err != nil {
		return o, nil, err
	}
	return o, func() error {
		reports.finish()
		err := r.finish([]string{w.Command}, false)
		if reports != nil {
			err = errors.Join(err, reports.fileErr)
		}
		return err
	}, nil
}
