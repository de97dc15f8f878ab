package runc

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Deadlines is how long the runtime may take for each verb. A verb whose field
// is zero has Default, and if that is zero too, this package's own limit for
// the verb: seconds where it only looks or signals, minutes where it runs hooks
// or moves memory. There is no way to wait without end.
type Deadlines struct {
	Create, Start, Exec, Kill, Delete, State, Pause, Resume time.Duration
	Update, Checkpoint, Restore, Features                   time.Duration
	Default                                                 time.Duration
}

// deadlineVar is the environment variable of Default; a verb's own is this, an
// underscore and the verb in capitals.
const deadlineVar = "HOLDFAST_RUNC_TIMEOUT"

// DeadlinesFromEnv reads HOLDFAST_RUNC_TIMEOUT (for every verb) and
// HOLDFAST_RUNC_TIMEOUT_CREATE, …_KILL and so on (for one), which hold Go
// durations such as 90s or 5m. Unset and empty variables leave the default; a
// value that is no positive duration is an error that names the variable.
func DeadlinesFromEnv(getenv func(string) string) (Deadlines, error) {
	var d Deadlines
	var err error
	if d.Default, err = durationVar(getenv, deadlineVar); err != nil {
		return Deadlines{}, err
	}
	for v := range verbCount {
		if *d.field(v), err = durationVar(getenv, deadlineVar+"_"+strings.ToUpper(v.String())); err != nil {
			return Deadlines{}, err
		}
	}
	return d, nil
}

func durationVar(getenv func(string) string, name string) (time.Duration, error) {
	s := getenv(name)
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err == nil && d <= 0 {
		err = errors.New("a deadline must be longer than nothing")
	}
	if err != nil {
		return 0, fmt.Errorf("runc: environment variable %s=%q: %w", name, s, err)
	}
	return d, nil
}

// of is the deadline of v.
func (d Deadlines) of(v verb) time.Duration {
	if own := *d.field(v); own > 0 {
		return own
	}
	if d.Default > 0 {
		return d.Default
	}
	return verbs[v].limit
}

func (d *Deadlines) field(v verb) *time.Duration {
	switch v {
	case verbCreate:
		return &d.Create
	case verbStart:
		return &d.Start
	case verbExec:
		return &d.Exec
	case verbKill:
		return &d.Kill
	case verbDelete:
		return &d.Delete
	case verbState:
		return &d.State
	case verbPause:
		return &d.Pause
	case verbResume:
		return &d.Resume
	case verbUpdate:
		return &d.Update
	case verbCheckpoint:
		return &d.Checkpoint
	case verbRestore:
		return &d.Restore
	case verbFeatures:
		return &d.Features
	}
	return &d.Default
}
