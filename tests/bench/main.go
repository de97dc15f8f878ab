package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// options are what the command line says.
type options struct {
	shim   string
	also   []*shim
	alone  bool
	groups []string
	effort effort
	json   string
	svg    string
	check  bool
}

var errCheck = errors.New("past the limits")

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.shim, "shim", "bin/containerd-shim-holdfast-v2", "`path` of our shim")
	fs.Func("also", "another shim to measure, as `NAME=PATH`, or NAME=PATH@1 for one that speaks an older dialect; may be given more than once", func(arg string) error {
		s, err := namedShim(arg)
		o.also = append(o.also, s)
		return err
	})
	fs.BoolVar(&o.alone, "alone", false, "leave out containerd's shims")
	chosen := fs.String("groups", strings.Join(groups(), ","), "what to measure, separated by commas")
	isQuick := fs.Bool("quick", false, "measure less of everything")
	e := usual()
	few := quick()
	rounds := fs.Int("rounds", e.Rounds, fmt.Sprintf("lives of containers for latencies (with -quick %d)", few.Rounds))
	shims := fs.Int("shims", e.Shims, fmt.Sprintf("shims that are idle at the same time (with -quick %d)", few.Shims))
	execs := fs.Int("execs", e.Execs, fmt.Sprintf("execs before memory is looked at again, up to 20000 (with -quick %d)", few.Execs))
	fs.StringVar(&o.json, "json", "", "write the results to this `file` too")
	fs.StringVar(&o.svg, "svg", "", "draw plots into this `directory` too")
	fs.BoolVar(&o.check, "check", false, "fail when our shim is past the limits for checks")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if *isQuick {
		e = few
	}
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "rounds":
			e.Rounds = *rounds
		case "shims":
			e.Shims = *shims
		case "execs":
			e.Execs = *execs
		}
	})
	if e.Rounds < 1 || e.Shims < 1 || e.Execs < 1 || e.Execs > 20000 {
		return nil, errors.New("want at least one of everything, and at most 20000 execs")
	}
	o.effort = e
	for g := range strings.SplitSeq(*chosen, ",") {
		if !slices.Contains(groups(), g) {
			return nil, fmt.Errorf("there is no group %q: want some of %s", g, strings.Join(groups(), ", "))
		}
		o.groups = append(o.groups, g)
	}
	return o, nil
}

func run(o *options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("it makes containers and needs root")
	}
	if err := runInMemory(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	shims, notes, err := findShims(ctx, o)
	if err != nil {
		return err
	}
	r := &report{Time: time.Now(), Host: describeHost(), Effort: o.effort, Shims: shims, Notes: notes}
	b, err := newBench(ctx, o.effort, shims)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, g := range groups() {
		if !slices.Contains(o.groups, g) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", g)
		if err := b.group(g); err != nil {
			return fmt.Errorf("%s: %w", g, err)
		}
	}
	r.Notes = append(r.Notes, b.notes...)
	var others []string
	for _, s := range shims[1:] {
		others = append(others, s.Name)
	}
	r.Rows = tabulate(measures(), o.groups, b.samples, shims[0].Name, others)
	if err := r.write(os.Stdout); err != nil {
		return err
	}
	if o.json != "" {
		if err := r.writeJSON(o.json); err != nil {
			return err
		}
	}
	if o.svg != "" {
		if err := r.writeSVG(o.svg); err != nil {
			return err
		}
	}
	if !o.check {
		return nil
	}
	failed := failures(r.Rows, shims[0].Name)
	if len(failed) > 0 {
		return fmt.Errorf("%w:\n  %s", errCheck, strings.Join(failed, "\n  "))
	}
	fmt.Println("\nAll checks passed.")
	return nil
}

// findShims finds ours, which must be there, and the others, whose absence is
// noted.
func findShims(ctx context.Context, o *options) (shims []*shim, notes []string, err error) {
	ours, err := ourShim(o.shim)
	if err != nil {
		return nil, nil, err
	}
	shims = []*shim{ours}
	missing := func(what string, err error) {
		n := fmt.Sprintf("%s IS NOT MEASURED: %v", what, err)
		notes = append(notes, n)
		fmt.Fprintln(os.Stderr, "NOTE:", n)
	}
	add := func(s *shim) {
		// The same release twice says nothing more.
		if !slices.ContainsFunc(shims, func(other *shim) bool { return other.Name == s.Name }) {
			shims = append(shims, s)
		}
	}
	if !o.alone {
		if s, err := installed(ctx); err != nil {
			missing("THE INSTALLED CONTAINERD'S SHIM", err)
		} else {
			add(s)
		}
		if s, err := next(ctx); err != nil {
			missing("THE SHIM OF DEBIAN'S NEXT RELEASE ("+string(nextSuite)+")", err)
		} else {
			add(s)
		}
	}
	for _, s := range o.also {
		add(s)
	}
	return shims, notes, nil
}

func describeHost() host {
	h := host{Kernel: "unknown", CPUs: runtime.NumCPU(), Load: "unknown"}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		h.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		h.Load = strings.Join(strings.Fields(string(text))[:3], " ")
	}
	return h
}
