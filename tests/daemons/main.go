package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "daemons:", err)
		}
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("daemons", flag.ContinueOnError)
	names := flags.String("daemon", "", "only these containerds, as `1.6,2.1`")
	which := flags.String("run", "", "only the scenarios whose names match `REGEXP`")
	all := flags.Bool("all", false, "all tests, not only the scenarios'")
	long := flags.Bool("long", false, "the long forms of the tests that have one")
	at := flags.Int("parallel", max(1, runtime.NumCPU()), "`N` daemons at a time")
	limit := flags.Duration("limit", 20*time.Minute, "of the tests under one daemon")
	readme := flags.String("readme", "README.md", "the `FILE` whose table has to say what was found, if all was run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := chooseReleases(*names)
	if err != nil {
		return err
	}
	lines, err := choose(*which)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "holdfast-daemons-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &suite{dir: dir, limit: *limit, long: *long, out: os.Stdout}
	if err := s.build(ctx); err != nil {
		return err
	}
	tests, err := s.tests(ctx)
	if err != nil {
		return err
	}
	if missing := unknown(lines, tests); len(missing) > 0 {
		return fmt.Errorf("there are no tests %s", strings.Join(missing, ", "))
	}
	if *all {
		lines = append(lines, rest(tests))
	}
	for _, r := range releases() {
		// A daemon is upgraded to those that come after it, so none may be missing.
		if err := r.fetch(ctx); err != nil {
			return err
		}
		s.releases = append(s.releases, r)
	}

	columns := make([]column, len(chosen))
	var wg sync.WaitGroup
	places := make(chan struct{}, *at)
	for i, name := range chosen {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			columns[i] = s.run(ctx, name, lines)
		})
	}
	wg.Wait()
	printTable(os.Stdout, lines, columns)
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for _, c := range columns {
		fmt.Printf("containerd %s: %d tests passed, %d failed, in %.0fs\n", c.version, len(c.passed), len(c.failed), c.took.Seconds())
		if c.err != nil || slices.ContainsFunc(lines, func(s scenario) bool { return !c.good(s) }) {
			errs = append(errs, fmt.Errorf("not all is well under containerd %s", c.version))
		}
	}
	if *which == "" && len(chosen) == len(s.releases) {
		text, err := os.ReadFile(*readme)
		if err != nil {
			return err
		}
		claims, err := claimed(string(text))
		errs = append(errs, err, differ(claims, measured(columns)))
	}
	return errors.Join(errs...)
}

// chooseReleases are the names of the releases wanted, all if none is named.
func chooseReleases(names string) ([]string, error) {
	var all []string
	for _, r := range releases() {
		all = append(all, r.name)
	}
	if names == "" {
		return all, nil
	}
	chosen := strings.Split(names, ",")
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			return nil, fmt.Errorf("-daemon: there is %s, and no %q", strings.Join(all, ", "), name)
		}
	}
	return chosen, nil
}

// suite is the tests' binary.
type suite struct {
	dir      string
	releases []*release
	limit    time.Duration
	long     bool
	out      io.Writer
	shim     string
	mu       sync.Mutex // guards out
}

// build builds the tests, and the shim unless HOLDFAST_SHIM names one.
func (s *suite) build(ctx context.Context) error {
	if s.shim = os.Getenv("HOLDFAST_SHIM"); s.shim == "" {
		var err error
		if s.shim, err = harness.Build(s.dir, "./cmd/shim", harness.ShimName); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", s.binary(), "github.com/holdfast-shim/holdfast/tests/containerd")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the tests: %w: %s", err, out)
	}
	return nil
}

func (s *suite) binary() string { return filepath.Join(s.dir, "containerd.test") }

// tests are the names of all tests.
func (s *suite) tests(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, s.binary(), "-test.list", ".").Output()
	if err != nil {
		return nil, fmt.Errorf("list the tests: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// run runs the scenarios under one release.
func (s *suite) run(ctx context.Context, name string, lines []scenario) column {
	began := time.Now()
	at := slices.IndexFunc(s.releases, func(r *release) bool { return r.name == name })
	c := column{name: name, version: name, outcome: newOutcome(name, s.out, &s.mu)}
	defer func() { c.took = time.Since(began) }()
	if err := ctx.Err(); err != nil {
		c.end(err)
		return c
	}
	version, err := s.releases[at].version(ctx)
	if err != nil {
		c.end(err)
		return c
	}
	c.version = version
	var dirs []string
	for _, r := range s.releases[at:] {
		dirs = append(dirs, r.dir)
	}
	cmd := exec.CommandContext(ctx, s.binary(), "-test.v", "-test.timeout", s.limit.String(), "-test.run", pattern(lines))
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOLDFAST_SHIM="+s.shim, "HOLDFAST_DAEMONS="+strings.Join(dirs, string(os.PathListSeparator)))
	if s.long {
		cmd.Env = append(cmd.Env, "HOLDFAST_LONG=1")
	}
	cmd.Stdout, cmd.Stderr = c.outcome, c.outcome
	// The tests clean up when they are told to end, and only once.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	c.end(cmd.Run())
	return c
}
