package harness

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
)

// Fault is what the stub runtime does for a verb (command stubruntime); zero is
// nothing.
type Fault struct {
	Times  int    `json:"times,omitempty"`
	After  bool   `json:"after,omitempty"`
	Mark   string `json:"mark,omitempty"`
	Delay  string `json:"delay,omitempty"`
	Until  string `json:"until,omitempty"`
	Stdout string `json:"stdout,omitempty"`
	Stderr string `json:"stderr,omitempty"`
	Spew   int64  `json:"spew,omitempty"`
	Log    string `json:"log,omitempty"`
	Error  string `json:"error,omitempty"`
	Orphan string `json:"orphan,omitempty"`
	Hang   bool   `json:"hang,omitempty"`
	Signal int    `json:"signal,omitempty"`
	Exit   *int   `json:"exit,omitempty"`
}

// Exits is the fault of exiting with a code without doing anything.
func Exits(code int) Fault { return Fault{Exit: &code} }

// Call is one run of the stub runtime.
type Call struct {
	Verb string   `json:"verb"`
	Args []string `json:"args"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
	Pid  int      `json:"pid"`
}

// Stub is a runtime of one daemon's that fails as it is told, and is the real
// one otherwise.
type Stub struct {
	Path string
	Drop []string // arguments that the real runtime does not get; set before Set

	t   testing.TB
	dir string
}

var stubBinary = sync.OnceValues(func() (string, error) {
	return Build(run.dir, "./tests/stubruntime", "stubruntime")
})

// Stub puts a stub runtime into the daemon's directory.
func (d *Daemon) Stub() *Stub {
	d.t.Helper()
	built, err := stubBinary()
	if err != nil {
		d.t.Fatal(err)
	}
	s := &Stub{t: d.t, dir: filepath.Join(d.Dir, "stub")}
	s.Path = filepath.Join(s.dir, "runtime")
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		d.t.Fatal(err)
	}
	// A copy of its own: the configuration is found beside the binary.
	if err := copyFile(built, s.Path); err != nil {
		d.t.Fatal(err)
	}
	s.Set(nil)
	return s
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// Set changes what the runtime does for which verb, from the next call on.
func (s *Stub) Set(faults map[string]Fault) {
	s.t.Helper()
	text, err := json.Marshal(map[string]any{
		"runtime": cmp.Or(os.Getenv("HOLDFAST_RUNTIME"), "runc"), "calls": s.File("calls"), "drop": s.Drop, "verbs": faults,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	// At once: a call that reads half of it would fail for the wrong reason.
	path := filepath.Join(s.dir, "stubruntime.json")
	if err := os.WriteFile(path+".new", text, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		s.t.Fatal(err)
	}
}

// Options are those that choose this runtime.
func (s *Stub) Options() *runcopts.Options { return &runcopts.Options{BinaryName: s.Path} }

// File is a path of that name beside the runtime, for marks and the like.
func (s *Stub) File(name string) string { return filepath.Join(s.dir, name) }

// Calls are the runs so far.
func (s *Stub) Calls() []Call {
	s.t.Helper()
	b, err := os.ReadFile(s.File("calls"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	var calls []Call
	for dec := json.NewDecoder(bytes.NewReader(b)); ; {
		var c Call
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			return calls
		} else if err != nil {
			s.t.Fatal(err)
		}
		calls = append(calls, c)
	}
}

// WaitFile waits until there is a file of that name beside the runtime.
func (s *Stub) WaitFile(d *Daemon, name string) {
	s.t.Helper()
	d.Eventually("file "+name, func() error {
		_, err := os.Stat(s.File(name))
		return err
	})
}

// Touch makes a file of that name beside the runtime.
func (s *Stub) Touch(name string) {
	s.t.Helper()
	if err := os.WriteFile(s.File(name), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}
