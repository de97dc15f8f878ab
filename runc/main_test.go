package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/reaper"
	"golang.org/x/sys/unix"
)

// patience is how long an event may take that is sure to come.
const patience = 30 * time.Second

// children is the reaper of all tests: a process can have only one.
var children *reaper.Reaper

// stubBinary is tests/stubruntime, built for this run; on a machine without Go it
// is in the directory that HOLDFAST_BUILT names.
var stubBinary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-runc-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		// Before there is a reaper, which would take os/exec its children.
		stubBinary = filepath.Join(dir, "stubruntime")
		if built := os.Getenv("HOLDFAST_BUILT"); built != "" {
			stubBinary = filepath.Join(built, "stubruntime")
		} else if err := buildStub(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if children, err = reaper.New(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer children.Close()
		return m.Run()
	}())
}

func buildStub() error {
	build := exec.Command("go", "build", "-o", stubBinary, "../tests/stubruntime")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the stub runtime: %w\n%s", err, out)
	}
	return nil
}

// noLeaks fails the test if it leaves descriptors, goroutines or children.
func noLeaks(t *testing.T) {
	t.Helper()
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		eventually(t, "all descriptors to be closed", func() bool { return openFiles(t) <= fds })
		eventually(t, "all goroutines to end", func() bool { return runtime.NumGoroutine() <= goroutines })
		eventually(t, "all children to end", func() bool { return len(childPids(t)) == 0 })
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func childPids(t *testing.T) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, file := range tasks {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		pids = append(pids, strings.Fields(string(b))...)
	}
	return pids
}

// eventually waits until what is asked for is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// exists reports whether a file is there.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// gone reports whether there is no process pid, not even a zombie.
func gone(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// stub is a runtime that does what the test tells it.
type stub struct {
	*Runtime
	t *testing.T
}

// faults are the entries of the stub's verbs; see tests/stubruntime.
type faults map[string]map[string]any

func newStub(t *testing.T, f faults) *stub {
	t.Helper()
	noLeaks(t)
	s := &stub{t: t, Runtime: &Runtime{
		Binary: stubBinary,
		Root:   "/nowhere/root",
		Bundle: t.TempDir(),
		ID:     "c1",
		Reaper: children,
	}}
	s.set(f)
	return s
}

func (s *stub) set(f faults) {
	s.t.Helper()
	b, err := json.Marshal(map[string]any{"runtime": "/bin/false", "calls": s.file("calls"), "verbs": f})
	if err == nil {
		err = os.WriteFile(s.file("stubruntime.json"), b, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// file is a path in the bundle.
func (s *stub) file(name string) string { return filepath.Join(s.Bundle, name) }

func (s *stub) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// readPid waits for a file with a pid in it.
func (s *stub) readPid(name string) int {
	s.t.Helper()
	eventually(s.t, "the file "+name, func() bool { return exists(s.file(name)) })
	b, err := os.ReadFile(s.file(name))
	if err != nil {
		s.t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid
}

// recorded is one call as the stub saw it.
type recorded struct {
	Args []string
	Dir  string
	Env  []string
}

// calls returns the calls so far.
func (s *stub) calls() []recorded {
	s.t.Helper()
	b, err := os.ReadFile(s.file("calls"))
	if err != nil {
		s.t.Fatal(err)
	}
	var all []recorded
	for line := range strings.Lines(string(b)) {
		var c recorded
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

// logs are the log files in the bundle.
func (s *stub) logs() []string {
	s.t.Helper()
	files, err := filepath.Glob(s.file("log*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	return files
}

// failure checks that err is an *Error and leads to want, if that is not nil,
// and to no other sentinel.
func failure(t *testing.T, err, want error) *Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is a %T, want an *Error", err, err)
	}
	if want != nil && !errors.Is(err, want) {
		t.Fatalf("%v: leads to %v, want %v", err, e.Err, want)
	}
	for _, s := range sentinels {
		if s.err != want && errors.Is(err, s.err) {
			t.Fatalf("%v: leads to %s", err, s.name)
		}
	}
	return e
}

// sentinels by name.
var sentinels = []struct {
	name string
	err  error
}{
	{"ErrNotFound", ErrNotFound},
	{"ErrExists", ErrExists},
	{"ErrNotRunning", ErrNotRunning},
	{"ErrRunning", ErrRunning},
	{"ErrPaused", ErrPaused},
	{"ErrNotPaused", ErrNotPaused},
	{"ErrInvalid", ErrInvalid},
	{"ErrUnsupported", ErrUnsupported},
	{"ErrDeadline", ErrDeadline},
	{"ErrNoRuntime", ErrNoRuntime},
}

// everyVerb calls each verb of r that has a container, with little to say.
var everyVerb = []struct {
	verb verb
	call func(context.Context, *Runtime) error
}{
	{verbCreate, func(ctx context.Context, r *Runtime) error { return r.Create(ctx, CreateOpts{}) }},
	{verbStart, func(ctx context.Context, r *Runtime) error { return r.Start(ctx) }},
	{verbExec, func(ctx context.Context, r *Runtime) error { return r.Exec(ctx, ExecOpts{ProcessFile: "/p"}) }},
	{verbKill, func(ctx context.Context, r *Runtime) error { return r.Kill(ctx, 15, false) }},
	{verbDelete, func(ctx context.Context, r *Runtime) error { return r.Delete(ctx, false) }},
	{verbState, func(ctx context.Context, r *Runtime) error { _, err := r.State(ctx); return err }},
	{verbPause, func(ctx context.Context, r *Runtime) error { return r.Pause(ctx) }},
	{verbResume, func(ctx context.Context, r *Runtime) error { return r.Resume(ctx) }},
	{verbUpdate, func(ctx context.Context, r *Runtime) error { return r.Update(ctx, []byte("{}")) }},
	{verbCheckpoint, func(ctx context.Context, r *Runtime) error { return r.Checkpoint(ctx, CheckpointOpts{}) }},
	{verbRestore, func(ctx context.Context, r *Runtime) error { return r.Restore(ctx, RestoreOpts{}) }},
	{verbFeatures, func(ctx context.Context, r *Runtime) error { _, err := r.Features(ctx); return err }},
}
