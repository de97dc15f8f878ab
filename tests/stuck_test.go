package tests

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// stuckLimit is the deadline of the verb that hangs. Nothing is measured by it.
const stuckLimit = time.Second

// stuckVerb is a verb that the runtime fails in.
type stuckVerb struct {
	name string
	// ready makes a container in the pod's shim that the verb can be called on; nil
	// if the verb makes it.
	ready func(s *stuckShim) *harness.Container
	// call has the shim run the verb, and is given what ready has made. What it makes
	// itself it returns.
	call func(s *stuckShim, c *harness.Container) (*harness.Container, error)
	// looks says that the shim sees for itself whether it was done.
	looks bool
	// end ends a container on which the verb was called.
	end func(s *stuckShim, c *harness.Container)
}

// stuckVerbs are those that a container with a cgroup of its own needs: signals are
// sent by the shim itself then, and checkpoint and restore have a table of theirs.
func stuckVerbs() []stuckVerb {
	running := func(s *stuckShim) *harness.Container {
		c := s.create()
		c.Start()
		return c
	}
	finish := func(_ *stuckShim, c *harness.Container) { c.Finish() }
	return []stuckVerb{
		{
			name: "create", looks: true, end: finish,
			call: func(s *stuckShim, _ *harness.Container) (*harness.Container, error) { return s.tryCreate() },
		},
		{
			name: "start", looks: true, end: finish,
			ready: func(s *stuckShim) *harness.Container { return s.create() },
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				_, err := c.Container.Start(s.d.Ctx())
				return c, err
			},
		},
		{
			name: "exec", looks: true, end: finish, ready: running,
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				e, err := c.TryExec(s.next("x"), client.Streams{}, "true")
				if err != nil {
					return c, err
				}
				_, err = e.Process.Start(s.d.Ctx())
				if err == nil {
					_, _, err = e.Process.Wait(s.d.Ctx())
				}
				_, deleted := e.Process.Delete(s.d.Ctx())
				return c, errors.Join(err, deleted)
			},
		},
		{
			name: "pause", looks: true, end: finish, ready: running,
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				_, err := c.Shim.Task.Pause(s.d.Ctx(), &task.PauseRequest{Id: c.ContainerID})
				return c, err
			},
		},
		{
			name: "resume", looks: true, end: finish,
			ready: func(s *stuckShim) *harness.Container {
				c := running(s)
				if _, err := c.Shim.Task.Pause(s.d.Ctx(), &task.PauseRequest{Id: c.ContainerID}); err != nil {
					s.t.Fatal(err)
				}
				return c
			},
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				_, err := c.Shim.Task.Resume(s.d.Ctx(), &task.ResumeRequest{Id: c.ContainerID})
				return c, err
			},
		},
		{
			name: "update", end: finish, ready: running,
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				_, err := c.Shim.Task.Update(s.d.Ctx(), &task.UpdateTaskRequest{Id: c.ContainerID, Resources: s.limits})
				return c, err
			},
		},
		{
			name: "delete", looks: true,
			ready: func(s *stuckShim) *harness.Container {
				c := running(s)
				c.Kill(syscall.SIGKILL)
				c.Wait()
				return c
			},
			call: func(s *stuckShim, c *harness.Container) (*harness.Container, error) {
				_, err := c.Shim.Task.Delete(s.d.Ctx(), deleteOf(c))
				return c, err
			},
			end: func(_ *stuckShim, c *harness.Container) { c.Delete() }, // gets the same answer
		},
	}
}

// stuckShim is a shim with one container that is well and others whose runtime is
// the stub.
type stuckShim struct {
	t      *testing.T
	d      *harness.Daemon
	pod    *harness.Container
	stub   *harness.Stub
	limits *wkt.Any
	count  int
}

func newStuckShim(t *testing.T, env ...string) *stuckShim {
	d := harness.New(t, harness.Env(env...))
	s := &stuckShim{t: t, d: d, stub: d.Stub()}
	s.limits = resources(t, client.SpecResources{Pids: &client.SpecPids{Limit: 100}})
	s.pod = d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "1000"}, NoOutput: true})
	s.pod.Start()
	return s
}

func (s *stuckShim) next(what string) string {
	s.count++
	return fmt.Sprintf("%s%d", what, s.count)
}

func (s *stuckShim) tryCreate() (*harness.Container, error) {
	return s.d.TryCreate(harness.Want{
		ID: s.next("c"), Args: []string{"sleep", "1000"}, NoOutput: true, Sandbox: s.pod, Options: s.stub.Options(),
	})
}

func (s *stuckShim) create() *harness.Container {
	s.t.Helper()
	c, err := s.tryCreate()
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// fails has the runtime fail in the verb, checks that everything else answers while
// it is at it, and returns how the call ended and the container it was about.
func (s *stuckShim) fails(v *stuckVerb, f harness.Fault, whileItHangs func()) (*harness.Container, error) {
	s.t.Helper()
	var c *harness.Container
	if v.ready != nil {
		c = v.ready(s)
	}
	s.stub.Set(map[string]harness.Fault{v.name: f})
	defer s.stub.Set(nil)
	type outcome struct {
		c   *harness.Container
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		made, err := v.call(s, c)
		done <- outcome{made, err}
	}()
	if whileItHangs != nil {
		s.stub.WaitFile(s.d, filepath.Base(f.Mark))
		answersEverything(s.t, s.d, s.pod)
		if c != nil {
			s.answers(v, c)
		}
		select {
		case o := <-done:
			s.t.Errorf("%s did not wait for its runtime: %v", v.name, o.err)
			done <- o
		default:
		}
		whileItHangs()
	}
	o := <-done
	return o.c, o.err
}

// answers asks the very container that a verb hangs of.
func (s *stuckShim) answers(v *stuckVerb, c *harness.Container) {
	s.t.Helper()
	if _, err := c.State(s.d.Ctx()); err != nil {
		s.t.Errorf("state while %s hangs: %v", v.name, err)
	}
	if _, err := c.Shim.Pid(s.d.Ctx()); err != nil {
		s.t.Errorf("connect while %s hangs: %v", v.name, err)
	}
	if v.name == "delete" {
		c.Wait()
		return
	}
	if _, err := c.Shim.Task.Pids(s.d.Ctx(), &task.PidsRequest{Id: c.ContainerID}); err != nil {
		s.t.Errorf("pids while %s hangs: %v", v.name, err)
	}
	if err := c.Container.Kill(s.d.Ctx(), syscall.SIGURG); err != nil {
		s.t.Errorf("kill while %s hangs: %v", v.name, err)
	}
}

// again does what has failed once more and ends what came of it.
func (s *stuckShim) again(v *stuckVerb, c *harness.Container, failed error) {
	s.t.Helper()
	if failed != nil {
		var err error
		if c, err = v.call(s, c); err != nil {
			s.t.Errorf("%s after it had failed (%v): %v", v.name, failed, err)
		}
	}
	if c != nil && c.Container != nil {
		v.end(s, c)
	}
}

// wantError fails the test unless the error says which verb failed.
func (s *stuckShim) wantError(v *stuckVerb, how string, err error, code codes.Code, words ...string) {
	s.t.Helper()
	if err == nil {
		s.t.Errorf("%s by a runtime that %s: no error", v.name, how)
		return
	}
	if code != codes.OK {
		s.d.WantCode(v.name+" by a runtime that "+how, err, code)
	}
	for _, word := range append(words, v.name) {
		if !strings.Contains(err.Error(), word) {
			s.t.Errorf("%s by a runtime that %s: the error lacks %q: %v", v.name, how, word, err)
		}
	}
	if len(err.Error()) > 8<<10 {
		s.t.Errorf("%s by a runtime that %s: the error has %d bytes", v.name, how, len(err.Error()))
	}
}

// Every verb and every way to fail in it (containerd 13483, 4177, 4434, moby 40817):
// everything else answers, the verb ends with an error that names it, or succeeds
// where it was done, and can be tried again.
func TestARuntimeMayFailInAnyVerbAndInAnyWay(t *testing.T) {
	const garbage = "\x00\x01{\"level\":\"error\",\"msg\":\n}{[\"\n"
	for _, v := range stuckVerbs() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newStuckShim(t)
			mark := s.stub.File("at-it")

			// Slow: it is let go when all others have answered.
			c, err := s.fails(&v, harness.Fault{Mark: mark, Until: s.stub.File("go")}, func() { s.stub.Touch("go") })
			if err != nil {
				t.Errorf("%s by a slow runtime: %v", v.name, err)
			}
			s.again(&v, c, err)

			for _, way := range []struct {
				how   string
				fault harness.Fault
				does  bool // what was asked for is done
				words []string
			}{
				{"prints a mebibyte of complaints", harness.Fault{Spew: 1 << 20}, true, nil},
				{"prints a mebibyte and fails", harness.Fault{Spew: 1 << 20, Exit: ptr(1)}, false, nil},
				{"answers garbage", harness.Fault{Stdout: strings.Repeat(garbage, 1000), Log: garbage, Exit: ptr(3)}, false, nil},
				{"is killed", harness.Fault{Signal: 9}, false, []string{"SIGKILL"}},
			} {
				c, err := s.fails(&v, way.fault, nil)
				if !way.does {
					s.wantError(&v, way.how, err, codes.OK, way.words...)
				} else if err != nil {
					t.Errorf("%s by a runtime that %s: %v", v.name, way.how, err)
				}
				s.again(&v, c, err)
			}

			c, err = s.fails(&v, harness.Exits(0), nil)
			if v.looks {
				s.wantError(&v, "says that it is done", err, codes.Unavailable)
			} else if err != nil {
				t.Errorf("%s by a runtime that says that it is done: %v", v.name, err)
			}
			s.again(&v, c, err)
			s.pod.Finish()
		})
	}
}

// The deadline's own test: with a short one, that a slow machine may also miss when
// nothing hangs, so what is tried again is tried until it succeeds.
func TestARuntimeThatHangsInAnyVerbIsEndedAtItsDeadline(t *testing.T) {
	for _, v := range stuckVerbs() {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			s := newStuckShim(t, "HOLDFAST_RUNC_TIMEOUT_"+strings.ToUpper(v.name)+"="+stuckLimit.String())
			c, err := s.fails(&v, harness.Fault{Mark: s.stub.File("at-it"), Hang: true}, func() {})
			s.wantError(&v, "hangs", err, codes.Unavailable, stuckLimit.String())
			s.d.Eventually(v.name+" after one that hung", func() error {
				made, err := v.call(s, c)
				if err == nil {
					c = made
				}
				return err
			})
			v.end(s, c)
			s.pod.Finish()
		})
	}
}

// What executes a program waits for whoever has it be examined before (fanotify(7),
// as scanners for malware do), or for a disk that is stuck.
func TestARuntimeThatTheKernelIsSlowToExecuteHoldsUpItsOwnCallAlone(t *testing.T) {
	s := newStuckShim(t)
	watch := watchOpens(t, filepath.Dir(s.stub.Path))
	watch.hold(0, filepath.Base(s.stub.Path))
	type outcome struct {
		c   *harness.Container
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		c, err := s.tryCreate()
		done <- outcome{c, err}
	}()
	watch.wait(t, time.Minute)
	if _, err := s.pod.State(s.d.Ctx()); err != nil {
		t.Fatalf("the shim does not answer: %v", err)
	}
	answersEverything(t, s.d, s.pod)
	select {
	case o := <-done:
		t.Fatalf("create did not wait for its runtime: %v", o.err)
	default:
	}
	watch.group.Close() // lets everybody go on
	o := <-done
	if o.err != nil {
		t.Fatalf("create by a runtime that the kernel was slow to execute: %v", o.err)
	}
	o.c.Start()
	o.c.Finish()
	s.pod.Finish()
}

func TestARuntimeThatTheKernelDoesNotExecuteIsGivenUpAtItsDeadline(t *testing.T) {
	s := newStuckShim(t, "HOLDFAST_RUNC_TIMEOUT_EXEC="+stuckLimit.String())
	c := s.create()
	c.Start()
	watch := watchOpens(t, filepath.Dir(s.stub.Path))
	watch.hold(0, filepath.Base(s.stub.Path))
	e := c.Exec("held", "true")
	_, err := e.Process.Start(s.d.Ctx())
	s.wantError(&stuckVerb{name: "exec"}, "is not executed", err, codes.Unavailable, stuckLimit.String())
	e.Delete()
	watch.group.Close()
	s.d.Eventually("an exec after it", func() error {
		e, err := c.TryExec(s.next("x"), client.Streams{}, "true")
		if err != nil {
			return err
		}
		_, started := e.Process.Start(s.d.Ctx())
		if started == nil {
			e.Wait()
		}
		_, deleted := e.Process.Delete(s.d.Ctx())
		return errors.Join(started, deleted)
	})
	c.Finish()
	s.pod.Finish()
}

// -info is asked while the daemon boots: a runtime that cannot say what it can do
// must cost it neither the answer nor its patience.
func TestInfoAnswersWhateverTheRuntimeDoes(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	for _, way := range []struct {
		how      string
		fault    harness.Fault
		features bool
	}{
		{"hangs", harness.Fault{Hang: true}, false},
		{"hangs when it has answered", harness.Fault{Stdout: "{}", Hang: true}, false},
		{"prints a mebibyte of complaints", harness.Fault{Spew: 1 << 20}, true},
		{"answers garbage", harness.Fault{Stdout: "\x00}{", Exit: ptr(0)}, false},
		{"says nothing", harness.Exits(0), false},
		{"fails", harness.Exits(1), false},
		{"is killed", harness.Fault{Signal: 9}, false},
	} {
		stub.Set(map[string]harness.Fault{"features": way.fault})
		info, err := d.Info(d.Ctx(), stub.Options())
		if err != nil || info.Name == "" || info.Version == nil || (info.Features != nil) != way.features {
			t.Errorf("a runtime that %s: %+v, %v", way.how, info, err)
		}
	}
}
