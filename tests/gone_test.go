package tests

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// number reads a variable of the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

// containerd 11755, 7496, 8981, 11392: a request whose client goes away at any
// moment is carried out or undone, never half.
//
// HOLDFAST_GONE says how often a client goes away, HOLDFAST_GONE_SEED which story
// to play: a failure names its own, and HOLDFAST_GONE_ROUND plays one round of it.
func TestAClientThatGoesAwayLeavesNothingHalfDone(t *testing.T) {
	rounds := number(t, "HOLDFAST_GONE", 20)
	seed := number(t, "HOLDFAST_GONE_SEED", rand.Uint64())
	only := number(t, "HOLDFAST_GONE_ROUND", rounds)
	d := harness.New(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "1000"}})
	pod.Start()
	shim := pod.HoldShim()
	files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
	// What is made once and kept is not a leak; and how long things take here.
	g := &leaver{d: d, pod: pod, most: map[string]time.Duration{}}
	g.measure(t)
	filesBefore, goroutinesBefore := files(), goroutines(t, d, shim)
	for i := range rounds {
		if only != rounds && i != only {
			continue
		}
		g.play(t, seed, i)
		if t.Failed() {
			break
		}
		d.Eventually("the shim's files", func() error {
			if n := files(); n > filesBefore {
				return fmt.Errorf("%d files, before %d", n, filesBefore)
			}
			return nil
		})
		d.Eventually("nothing left but the pod", func() error { return onlyOf(d, "pod") })
	}
	d.Eventually("the shim's goroutines", func() error {
		if n := goroutines(t, d, shim); n > goroutinesBefore {
			return fmt.Errorf("%d goroutines, before %d", n, goroutinesBefore)
		}
		return nil
	})
	pod.Finish()
}

// onlyOf is an error when something is there of the daemon's that is not of that
// container or of its shim.
func onlyOf(d *harness.Daemon, id string) error {
	left, err := d.Leaks()
	if err != nil {
		return err
	}
	var others []string
	sockets, shims := 0, 0
	for _, l := range left {
		switch {
		case strings.HasPrefix(l, "socket "):
			sockets++
		case strings.HasPrefix(l, "process ") && strings.Contains(l, "-id "+id+" "):
			shims++
		case strings.HasPrefix(l, "process "), !strings.Contains(l, "/"+id) && !strings.HasPrefix(l, d.Fifos):
			others = append(others, l)
		}
	}
	// The shim and its socket; the fifos' directories have no names of their own.
	if fifos := len(harness.Names(d.Fifos)); sockets != 1 || shims != 1 || fifos != 1 || len(others) > 0 {
		return fmt.Errorf("%d sockets, %d shims, %d directories of fifos, and:\n%s", sockets, shims, fifos, strings.Join(others, "\n"))
	}
	return nil
}

// leaver plays clients that go away.
type leaver struct {
	d    *harness.Daemon
	pod  *harness.Container
	most map[string]time.Duration // how long a request takes
}

// measure makes every request once.
func (g *leaver) measure(t *testing.T) {
	t.Helper()
	took := func(what string, f func()) {
		begun := time.Now()
		f()
		g.most[what] = max(time.Since(begun)*5/4, time.Millisecond)
	}
	var c *harness.Container
	var e *harness.Exec
	took("create", func() {
		c = g.d.CreateWant(harness.Want{ID: "measured", Args: []string{"sleep", "1000"}, Sandbox: g.pod, Join: true})
	})
	took("start", func() { c.Start() })
	took("exec", func() { e = c.Exec("x", "sleep", "1000") })
	took("exec start", func() { e.Start() })
	took("kill", func() {
		if err := e.Kill(g.d.Ctx(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	})
	e.Wait()
	took("exec delete", func() { e.Delete() })
	c.Kill(syscall.SIGKILL)
	c.Wait()
	took("delete", func() { c.Delete() })
}

// A round is one container whose client goes away once.
type round struct {
	*leaver
	t   *testing.T
	rng *rand.Rand
	id  string
	way string
	own bool // has a shim of its own
}

var (
	departures = []string{"create", "create", "start", "exec", "exec start", "exec delete", "kill", "delete"}
	// A call is cancelled, which its server is not told; runs into its deadline,
	// which the server knows; or loses its connection.
	ways = []string{"cancel", "deadline", "cut"}
)

func (g *leaver) play(t *testing.T, seed, i uint64) {
	r := &round{leaver: g, t: t, rng: rand.New(rand.NewPCG(seed, i)), id: fmt.Sprintf("c%d", i)}
	what := departures[r.rng.IntN(len(departures))]
	r.way = ways[r.rng.IntN(len(ways))]
	r.own = r.rng.IntN(2) == 0
	defer func() {
		if t.Failed() {
			t.Errorf("%s, %s, own shim %v: play it again with HOLDFAST_GONE=%d HOLDFAST_GONE_SEED=%d HOLDFAST_GONE_ROUND=%d",
				what, r.way, r.own, i+1, seed, i)
		}
	}()
	if what == "create" {
		r.create()
		return
	}
	w := harness.Want{ID: r.id, Args: []string{"sleep", "1000"}}
	if what == "delete" {
		w.Args = []string{"sh", "-c", "exit 5"}
	}
	if !r.own {
		w.Sandbox, w.Join = g.pod, r.rng.IntN(2) == 0
	}
	c := g.d.CreateWant(w)
	if what != "start" {
		c.Start()
	}
	switch what {
	case "start":
		r.leave(c, what, func(ctx context.Context) error {
			_, err := c.Container.Start(ctx)
			return err
		})
		// The start is done or was never heard of; that it is under way passes.
		g.d.Eventually("the end of the start", func() error {
			if story := g.d.Story(r.id); len(story) == 1 {
				if _, err := c.Container.Start(g.d.Ctx()); err != nil && client.Code(err) != codes.FailedPrecondition {
					return err
				}
			}
			if s, err := c.State(g.d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
				return fmt.Errorf("state %+v, %v", s, err)
			}
			return nil
		})
	case "exec", "exec start", "exec delete":
		r.exec(c, what)
	case "kill":
		r.leave(c, what, func(ctx context.Context) error { return c.Container.Kill(ctx, syscall.SIGKILL) })
	case "delete":
		r.delete(c)
		return
	}
	c.Finish()
}

// leave makes a call and goes away from it. Then the client is back.
func (r *round) leave(c *harness.Container, what string, call func(context.Context) error) {
	r.t.Helper()
	r.away(c.Shim, what, call)
	if r.way != "cut" {
		return
	}
	c.Shim.Close()
	again, err := r.d.Open(r.d.Ctx(), c.ContainerID)
	if err != nil {
		r.t.Fatal(err)
	}
	again.IO = c.IO
	c.Container = again
}

func (r *round) away(s *client.Shim, what string, call func(context.Context) error) {
	r.t.Helper()
	after := time.Duration(r.rng.Int64N(int64(r.most[what])))
	ctx, cancel := context.WithCancel(r.d.Ctx())
	defer cancel()
	switch r.way {
	case "cancel":
		defer time.AfterFunc(after, cancel).Stop()
	case "deadline":
		ctx, cancel = context.WithTimeout(ctx, after)
		defer cancel()
	case "cut":
		defer time.AfterFunc(after, func() { s.Conn().Close() }).Stop()
	}
	switch err := call(ctx); client.Code(err) {
	case codes.OK, codes.Canceled, codes.DeadlineExceeded:
	case codes.Unknown: // of this side's, or told without a reason
		if strings.Contains(err.Error(), "rpc error") {
			r.t.Errorf("%s: %v", what, err)
		}
	default:
		r.t.Errorf("%s: %v", what, err)
	}
}

// create goes away from Create and does what a daemon does then.
func (r *round) create() {
	d, t := r.d, r.t
	spec := client.DefaultSpec(d.Namespace, r.id, "sleep", "1000")
	if !r.own {
		spec.Annotate(client.SandboxAnnotation, r.pod.ContainerID)
	}
	config, err := spec.JSON()
	if err != nil {
		t.Fatal(err)
	}
	rootfs, err := d.Overlay(r.id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle(r.id, config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Launcher.Start(d.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := s.Hold(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	io, err := client.NewIO(d.Fifos, r.id, client.Streams{Stdout: &harness.Output{}, Stderr: &harness.Output{}})
	if err != nil {
		t.Fatal(err)
	}
	r.away(s, "create", func(ctx context.Context) error {
		_, err := s.Task.Create(ctx, &task.CreateTaskRequest{
			Id: r.id, Bundle: b.Path, Rootfs: []*types.Mount{rootfs}, Stdout: io.Stdout, Stderr: io.Stderr,
		})
		return err
	})
	if r.way == "cut" {
		s.Close()
		if s, err = d.Load(d.Ctx(), b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: r.id}); err != nil && client.Code(err) != codes.NotFound {
		t.Errorf("delete after create: %v", err)
	}
	if err := s.Shutdown(d.Ctx()); err != nil {
		t.Error(err)
	}
	if r.own {
		if err := h.Wait(d.Ctx()); err != nil {
			t.Errorf("the shim does not end: %v", err)
		}
	}
	s.Close()
	io.Close()
	if err := b.Delete(); err != nil {
		t.Error(err)
	}
}

// exec goes away from one of the requests of an exec's life.
func (r *round) exec(c *harness.Container, what string) {
	d, t := r.d, r.t
	io, err := client.NewIO(d.Fifos, "x", client.Streams{Stdout: &harness.Output{}, Stderr: &harness.Output{}})
	if err != nil {
		t.Fatal(err)
	}
	defer io.Close()
	// The connection may be another after each step.
	step := func(name string, call func(context.Context) error) {
		if name == what {
			r.leave(c, name, call)
		} else if err := call(d.Ctx()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	add := func(ctx context.Context) error {
		_, err := c.Shim.Task.Exec(ctx, &task.ExecProcessRequest{
			Id: r.id, ExecId: "x", Stdout: io.Stdout, Stderr: io.Stderr,
			Spec: &wkt.Any{Value: []byte(`{"args":["sh","-c","exec sleep 1000"],"cwd":"/","env":["PATH=/bin"]}`)},
		})
		return err
	}
	step("exec", add)
	state := func() types.Status {
		s, err := c.Shim.Task.State(d.Ctx(), &task.StateRequest{Id: r.id, ExecId: "x"})
		if err != nil && client.Code(err) != codes.NotFound {
			t.Error(err)
		}
		if err != nil {
			return types.Status_UNKNOWN
		}
		return s.Status
	}
	if what == "exec" && state() == types.Status_UNKNOWN {
		// Not heard of, or not yet: its taking the id is the end of the matter.
		if err := add(d.Ctx()); err != nil && client.Code(err) != codes.AlreadyExists {
			t.Errorf("exec again: %v", err)
		}
	}
	start := func(ctx context.Context) error {
		_, err := c.Shim.Task.Start(ctx, &task.StartRequest{Id: r.id, ExecId: "x"})
		return err
	}
	step("exec start", start)
	if what == "exec start" && state() == types.Status_CREATED {
		// Waits for the one that is under way, if there is one.
		if err := start(d.Ctx()); err != nil && client.Code(err) != codes.FailedPrecondition {
			t.Errorf("start again: %v", err)
		}
	}
	if got := state(); got != types.Status_RUNNING {
		t.Errorf("the exec is %v", got)
	}
	if _, err := c.Shim.Task.Kill(d.Ctx(), &task.KillRequest{Id: r.id, ExecId: "x", Signal: 9}); err != nil {
		t.Error(err)
	}
	if w, err := c.Shim.Task.Wait(d.Ctx(), &task.WaitRequest{Id: r.id, ExecId: "x"}); err != nil || w.ExitStatus != 137 {
		t.Errorf("wait: %+v, %v", w, err)
	}
	remove := func(ctx context.Context) error {
		a, err := c.Shim.Task.Delete(ctx, &task.DeleteRequest{Id: r.id, ExecId: "x"})
		if err == nil && a.ExitStatus != 137 {
			t.Errorf("delete told %+v", a)
		}
		return err
	}
	step("exec delete", remove)
	if err := remove(d.Ctx()); err != nil {
		t.Errorf("delete again: %v", err)
	}
}

// delete goes away from Delete, and asks again.
func (r *round) delete(c *harness.Container) {
	c.Wait()
	remove := func(ctx context.Context) error {
		a, err := c.Shim.Task.Delete(ctx, deleteOf(c))
		if err == nil && a.ExitStatus != 5 {
			r.t.Errorf("delete told %+v", a)
		}
		return err
	}
	r.leave(c, "delete", remove)
	if err := remove(r.d.Ctx()); err != nil {
		r.t.Errorf("delete again: %v", err)
	}
	if got := c.Delete(); got != 5 {
		r.t.Errorf("the third delete told %d", got)
	}
}

// goroutines counts those of a shim.
func goroutines(t *testing.T, d *harness.Daemon, shim *client.Hold) int {
	t.Helper()
	dumps := func() []string { return strings.Split(d.ShimLog.String(), `"goroutine stacks"`)[1:] }
	before := len(dumps())
	if err := shim.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	var n int
	d.Eventually("the goroutines' stacks", func() error {
		all := dumps()
		if len(all) == before {
			return fmt.Errorf("not there")
		}
		line, _, whole := strings.Cut(all[len(all)-1], "\n")
		if !whole {
			return fmt.Errorf("not complete")
		}
		n = strings.Count(line, `goroutine `) - strings.Count(line, ` in goroutine `)
		return nil
	})
	return n
}
