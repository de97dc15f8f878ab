package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// The steps of a container's life at which its shim is killed. What holds the
// shim up there is named by a word and what it concerns:
//
//	opens F    the shim opens the file F of the bundle (.F: the one that becomes F)
//	before V   the runtime was called with the verb V and has done nothing
//	within V   the runtime is in the midst of V, in a hook
//	after V    the runtime has done V and has not ended
//	tells T    the event T is on its way to the daemon
//	logger     the logger does not say that it is ready
//	drains     the output is not read
//	closes     the logger does not end
//	nothing    the call was answered
var deaths = []struct {
	call, hold string
	status     uint32 // what `delete` has to tell
}{
	{"", "nothing", 137},

	{"create", "opens config.json", 137},
	{"create", "opens .options.json", 137},
	{"create", "opens .runtime", 137},
	{"create", "logger", 137},
	{"create", "before create", 137},
	{"create", "within create", 137},
	{"create", "after create", 137},
	{"create", "opens init.pid", 137},
	{"create", "tells create", 137},
	{"create", "nothing", 137},

	{"start", "before start", 137},
	{"start", "after start", 137},
	{"start", "tells start", 137},
	{"start", "nothing", 137},

	{"pause", "before pause", 137},
	{"pause", "after pause", 137},
	{"pause", "tells paused", 137},

	{"exec", "opens x.pid.spec", 137},
	{"exec", "before exec", 137},
	{"exec", "after exec", 137},
	{"exec", "opens x.pid", 137},
	{"exec", "tells exec-started", 137},
	{"exec", "nothing", 137},
	{"exec's exit", "tells exit", 137},
	{"exec's delete", "nothing", 137},

	// The record comes before anybody is told, so what was told stays true.
	{"exit", "opens .exit.json", 137},
	{"exit", "tells exit", 3},
	{"exit", "nothing", 3},

	{"delete", "drains", 3},
	{"delete", "before delete", 3},
	{"delete", "after delete", 3},
	{"delete", "closes", 3},
	{"delete", "tells delete", 3},
	{"delete", "nothing", 3},
}

// DESIGN's promise 5.
func TestDeleteLeavesNothingAtWhateverStepTheShimWasKilled(t *testing.T) {
	for _, tt := range deaths {
		t.Run(strings.TrimSpace(tt.call+" "+tt.hold), func(t *testing.T) {
			s := newScene(t, tt.call, tt.hold)
			s.play()
			s.killShim()
			s.wantDelete(tt.status)
			if told := slices.Contains(s.Story("c"), "exit 3"); told && tt.status != 3 {
				t.Error("the end was told before it was recorded")
			}
		})
	}
}

// scene is a container that is brought to one step of its life, by the calls that
// a daemon makes.
type scene struct {
	*harness.Daemon
	t          *testing.T
	call       string // the one that is held up
	hold, what string

	stub   *harness.Stub
	bundle *client.Bundle
	shim   *client.Shim
	held   *client.Hold
	opens  *opens

	telling atomic.Value  // the topic that is held up; "" for none
	told    chan struct{} // closed when that event has come
}

func newScene(t *testing.T, call, hold string, options ...harness.Option) *scene {
	s := &scene{t: t, call: call, told: make(chan struct{})}
	s.hold, s.what, _ = strings.Cut(hold, " ")
	s.telling.Store("")
	s.Daemon = harness.New(t, append(options, harness.Hook(s.consume))...)
	s.stub = s.Stub()
	return s
}

// consume never answers for the event at which the shim is to be killed.
func (s *scene) consume(ctx context.Context, e client.Event) error {
	if e.Topic != s.telling.Load() {
		return nil
	}
	s.telling.Store("")
	close(s.told)
	<-ctx.Done()
	return ctx.Err()
}

// play makes one call after the other, up to the one that is held up.
func (s *scene) play() {
	s.t.Helper()
	s.start()
	calls := []struct {
		name string
		do   func(context.Context) error
	}{
		{"create", s.create},
		{"start", s.startInit},
		{"exit", s.startInit}, // of a program that ends at once
		{"pause", func(ctx context.Context) error {
			_, err := s.shim.Task.Pause(ctx, &task.PauseRequest{Id: "c"})
			return err
		}},
		{"exec", s.exec},
		{"exec's exit", s.exec},
		{"exec's delete", s.deleteExec},
		{"delete", s.delete},
	}
	for _, c := range calls {
		if s.call == "" {
			return
		}
		if c.name == s.call {
			s.callHeld(c.do)
			return
		}
		if !s.leadsThrough(c.name) {
			continue
		}
		if err := c.do(s.Ctx()); err != nil {
			s.t.Fatalf("%s: %v", c.name, err)
		}
		if c.name == "exit" {
			s.exited()
		}
	}
	s.t.Fatalf("there is no call %q", s.call)
}

// leadsThrough reports whether the call comes before the one that is held up.
func (s *scene) leadsThrough(call string) bool {
	switch s.call {
	case "start", "exit":
		return call == "create"
	case "pause", "exec", "exec's exit":
		return call == "create" || call == "start"
	case "exec's delete":
		return call == "create" || call == "start" || call == "exec"
	case "delete":
		return call == "create" || call == "exit"
	}
	return false
}

// callHeld makes a call and returns when the shim stands still in it.
func (s *scene) callHeld(do func(context.Context) error) {
	s.t.Helper()
	fault := harness.Fault{Mark: s.stub.File("held"), Until: s.stub.File("never")}
	switch s.hold {
	case "opens":
		s.opens.hold(s.held.Pid(), s.what)
	case "after":
		fault.After = true
		fallthrough
	case "before":
		s.stub.Set(map[string]harness.Fault{s.what: fault})
	case "tells":
		s.telling.Store("/tasks/" + s.what)
	}
	answered := make(chan error, 1)
	go func() { answered <- do(s.Ctx()) }()
	switch s.hold {
	case "opens":
		s.opens.wait(s.t, harness.Patience)
	case "before", "after", "within", "logger", "closes":
		s.stub.WaitFile(s.Daemon, "held")
	case "tells":
		select {
		case <-s.told:
		case <-s.Ctx().Done():
			s.t.Fatal("no event")
		}
	case "drains":
		// A second Delete waits for the first, or is what waits for the reader.
		ctx, cancel := context.WithTimeout(s.Ctx(), time.Second)
		defer cancel()
		_, err := s.shim.Task.Delete(ctx, &task.DeleteRequest{Id: "c"})
		if !errors.Is(err, context.DeadlineExceeded) && client.Code(err) != codes.DeadlineExceeded {
			s.t.Errorf("a second Delete: %v", err)
		}
	case "nothing":
		if err := <-answered; err != nil {
			s.t.Fatal(err)
		}
		if s.call == "exit" {
			s.exited()
		}
	}
	if s.hold != "nothing" && s.hold != "tells" && s.call != "exit" {
		select {
		case err := <-answered:
			s.t.Fatalf("the call was not held up: %v", err)
		default:
		}
	}
}

// start has a shim started, whose opens of files in the bundle can be held up.
func (s *scene) start() {
	s.t.Helper()
	spec := client.DefaultSpec(s.Namespace, "c", s.program()...)
	config, err := spec.JSON()
	if err == nil && s.hold == "within" {
		config, err = s.withHook(config)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	if s.bundle, err = s.NewBundle("c", config); err != nil {
		s.t.Fatal(err)
	}
	if s.shim, err = s.Launcher.Start(s.Ctx(), s.bundle, s.stub.Options()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.shim.Close() })
	if s.held, err = s.shim.Hold(s.Ctx()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { s.held.Close() })
	if s.hold == "opens" {
		s.opens = watchOpens(s.t, s.bundle.Path)
	}
}

// program is init's.
func (s *scene) program() []string {
	switch {
	case s.hold == "drains": // more than a fifo holds, and less than a fifo and a pipe
		return []string{"sh", "-c", "seq 220000; exit 3"}
	case s.call == "exit" || s.call == "delete":
		return []string{"sh", "-c", "exit 3"}
	}
	return []string{"sh", "-c", "setsid sleep 100000 & exec sleep 100000"}
}

// withHook adds to a configuration a hook that the runtime waits for.
func (s *scene) withHook(config []byte) ([]byte, error) {
	var spec map[string]any
	if err := json.Unmarshal(config, &spec); err != nil {
		return nil, err
	}
	hook := s.script("hook", "touch held; while ! [ -e go ]; do sleep 0.02; done")
	spec["hooks"] = map[string]any{"createRuntime": []any{map[string]any{"path": hook}}}
	return json.Marshal(spec)
}

// script makes a program of the machine's that works beside the runtime.
func (s *scene) script(name, text string) string {
	s.t.Helper()
	path := s.stub.File(name)
	text = fmt.Sprintf("#!/bin/sh\ncd %s\n%s\n", filepath.Dir(path), text)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// stdout is where init's output goes.
func (s *scene) stdout() string {
	switch s.hold {
	case "drains":
		path := s.stub.File("fifo")
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			s.t.Error(err)
		}
		return path
	case "logger":
		return "binary://" + s.script("logger", "touch held; cat <&3 >log")
	case "closes":
		return "binary://" + s.script("logger", "exec 5>&-; trap 'touch held' TERM; cat <&3 >log; while ! [ -e go ]; do sleep 0.02; done")
	}
	return ""
}

func (s *scene) create(ctx context.Context) error {
	r := createOf(s.t, s.Daemon, "c", s.stub)
	r.Stdout = s.stdout()
	_, err := s.shim.Task.Create(ctx, r)
	return err
}

func (s *scene) startInit(ctx context.Context) error {
	_, err := s.shim.Task.Start(ctx, &task.StartRequest{Id: "c"})
	return err
}

// exited waits until init's end was told.
func (s *scene) exited() {
	s.t.Helper()
	_, err := s.Events.Wait(s.Ctx(), func(e client.Event) bool { return e.Topic == client.TopicExit && e.ExecID == "" })
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) exec(ctx context.Context) error {
	program := []string{"true"}
	if s.call == "exec" {
		program = []string{"sleep", "100000"}
	}
	spec, err := json.Marshal(client.DefaultProcess(program...))
	if err != nil {
		return err
	}
	if _, err := s.shim.Task.Exec(ctx, &task.ExecProcessRequest{Id: "c", ExecId: "x", Spec: &wkt.Any{Value: spec}}); err != nil {
		return err
	}
	_, err = s.shim.Task.Start(ctx, &task.StartRequest{Id: "c", ExecId: "x"})
	return err
}

func (s *scene) deleteExec(ctx context.Context) error {
	if _, err := s.shim.Task.Wait(ctx, &task.WaitRequest{Id: "c", ExecId: "x"}); err != nil {
		return err
	}
	_, err := s.shim.Task.Delete(ctx, &task.DeleteRequest{Id: "c", ExecId: "x"})
	return err
}

func (s *scene) delete(ctx context.Context) error {
	_, err := s.shim.Task.Delete(ctx, &task.DeleteRequest{Id: "c"})
	return err
}

// killShim ends the scene by the shim's death, and what is not the shim's to end.
func (s *scene) killShim() {
	s.t.Helper()
	if err := s.held.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	if err := s.held.Wait(s.Ctx()); err != nil {
		s.t.Fatal(err)
	}
	if s.opens != nil {
		s.opens.group.Close() // nobody else's opens are held up by it
	}
	s.stub.Set(nil)
	s.stub.Touch("go")
}

// wantDelete runs `delete` twice, which has to tell that status both times, and
// leave nothing the first time.
func (s *scene) wantDelete(status uint32) {
	s.t.Helper()
	pid, err := runc.ReadPidFile(filepath.Join(s.bundle.Path, bundle.InitPidFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Error(err)
	}
	for range 2 {
		r, err := s.Launcher.Delete(s.Ctx(), s.bundle)
		if err != nil {
			s.t.Fatal(err)
		}
		if r.ExitStatus != status || int(r.Pid) != pid || r.ExitedAt.AsTime().IsZero() {
			s.t.Errorf("delete told %+v, want status %d of process %d", r, status, pid)
		}
		// What was killed takes its time to end.
		s.Eventually("nothing is left", func() error {
			if left := s.left(); len(left) > 0 {
				return fmt.Errorf("left: %q", left)
			}
			return nil
		})
	}
	if log := s.ShimLog.String(); strings.Contains(log, "delete c: ") {
		s.t.Errorf("delete complained: %s", log)
	}
	if err := s.bundle.Delete(); err != nil {
		s.t.Error(err)
	}
}

// left is what there is of the container's besides the bundle, which is the
// daemon's to remove.
func (s *scene) left() []string {
	left, err := s.Leaks()
	if err != nil {
		s.t.Error(err)
	}
	return slices.DeleteFunc(left, func(l string) bool {
		return strings.HasPrefix(l, s.State) || strings.HasPrefix(l, s.Root)
	})
}
