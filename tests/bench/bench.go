package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-shim/holdfast/client"
)

// effort is how much is measured.
type effort struct {
	Rounds  int           `json:"rounds"`  // lives for latencies
	Idle    int           `json:"idle"`    // idle shims, one at a time
	Shims   int           `json:"shims"`   // shims that are idle together
	Execs   int           `json:"execs"`   // before memory is looked at
	Streams int           `json:"streams"` // rounds of stdout
	Bulk    int           `json:"bulk"`    // MiB of 64 KiB writes in a round
	Lines   int           `json:"lines"`   // MiB of 100-byte writes in a round
	Storm   int           `json:"storm"`   // containers started eight at a time
	Probes  time.Duration `json:"probes"`  // ns of exec probes
	Settle  time.Duration `json:"settle"`  // ns of quiet before memory is looked at
}

func usual() effort {
	return effort{Rounds: 25, Idle: 3, Shims: 20, Execs: 500, Streams: 7, Bulk: 1024, Lines: 256, Storm: 200, Probes: time.Minute, Settle: 3 * time.Second}
}

func quick() effort {
	return effort{Rounds: 4, Idle: 1, Shims: 4, Execs: 50, Streams: 3, Bulk: 512, Lines: 64, Storm: 24, Probes: 4 * time.Second, Settle: 3 * time.Second}
}

// bench is one run.
type bench struct {
	ctx     context.Context
	effort  effort
	dir     string    // what the daemons share
	daemons []*daemon // ours first
	turn    int       // whose turn it is to be first
	samples map[string]map[string][]float64
	notes   []string // what was not measured, and why
}

// newBench makes a daemon for each shim. close ends them.
func newBench(ctx context.Context, e effort, shims []*shim) (_ *bench, err error) {
	b := &bench{ctx: ctx, effort: e, samples: make(map[string]map[string][]float64)}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if b.dir, err = os.MkdirTemp("", "hfbench"); err != nil {
		return nil, err
	}
	rootfs := filepath.Join(b.dir, "rootfs")
	if err := client.MakeRootfs(rootfs); err != nil {
		return nil, err
	}
	for i, s := range shims {
		d, err := newDaemon(s, filepath.Join(b.dir, strconv.Itoa(i)), rootfs)
		if err != nil {
			return nil, err
		}
		b.daemons = append(b.daemons, d)
	}
	return b, nil
}

func (b *bench) close() error {
	var errs []error
	for _, d := range b.daemons {
		errs = append(errs, d.close())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// group runs the measurements of one group.
func (b *bench) group(name string) error {
	for _, d := range b.daemons {
		if err := d.forgetEvents(); err != nil {
			return err
		}
	}
	switch name {
	case groupSize:
		return b.sizes()
	case groupMemory:
		return b.memory()
	case groupLatency:
		return b.latency()
	case groupExecs:
		return b.execs()
	case groupStdout:
		return b.stdout()
	case groupStorm:
		return b.storm()
	case groupProbes:
		return b.probes()
	case groupRuns:
		return b.runs()
	}
	return fmt.Errorf("there is no group %q", name)
}

// each has every shim measured once, another one first each time. A failure of
// ours ends the run; one of another shim ends the measuring of that one, and is
// noted.
func (b *bench) each(f func(*daemon) error) error {
	n := len(b.daemons)
	var failed *daemon
	for i := range n {
		d := b.daemons[(b.turn+i)%n]
		err := f(d)
		switch {
		case b.ctx.Err() != nil:
			return context.Cause(b.ctx)
		case err == nil:
		case d.shim.ours:
			return err
		default:
			b.note("%s failed and is measured no further: %v", d.shim.Name, err)
			failed = d
		}
	}
	b.turn++
	return b.drop(failed)
}

// drop takes a daemon out of the run.
func (b *bench) drop(d *daemon) error {
	if d == nil {
		return nil
	}
	var left []*daemon
	for _, other := range b.daemons {
		if other != d {
			left = append(left, other)
		}
	}
	b.daemons = left
	return d.close()
}

// add is a value of one shim.
func (b *bench) add(key string, d *daemon, value float64) { b.addNamed(key, d.shim.Name, value) }

// addTime is a time of one shim, in the unit ms.
func (b *bench) addTime(key string, d *daemon, t time.Duration) {
	b.add(key, d, float64(t)/float64(time.Millisecond))
}

func (b *bench) addNamed(key, name string, value float64) {
	if b.samples[key] == nil {
		b.samples[key] = make(map[string][]float64)
	}
	b.samples[key][name] = append(b.samples[key][name], value)
}

// note is told at once and again in the report.
func (b *bench) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	b.notes = append(b.notes, n)
	fmt.Fprintln(os.Stderr, "NOTE:", n)
}

// stepCtx bounds one step of a measurement.
func (b *bench) stepCtx() (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, patience)
}

// settle lets shims come to rest.
func (b *bench) settle() error {
	select {
	case <-time.After(b.effort.Settle):
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}
