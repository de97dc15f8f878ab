package task

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// runtimeLimit is every verb's deadline in the scenarios.
const runtimeLimit = 10 * time.Second

// world is a machine in which everything happens when a story says so. It is
// made, and may be used, inside a bubble of package synctest.
type world struct {
	ends  chan *soul    // to the reaper's goroutine
	gone  chan struct{} // closed when that has ended
	blame func(format string, args ...any)

	mu     sync.Mutex // guards everything below; never held over a wait
	pids   int
	boxes  map[string]*box   // the runtime's containers, by id
	souls  []*soul           // every process there ever was
	modes  map[string]string // how the runtime's next calls of a verb go
	parked []*parked         // calls that go on when they are told to, the oldest first
	holds  map[string]bool   // what else waits to be told: adopt, group, exits
	free   bool              // nothing waits any more: the story is over
}

// box is a container as the runtime and the kernel have it.
type box struct {
	id      string
	private bool // has a pid namespace of its own
	started bool
	frozen  bool
	init    *soul
	kills   int // for want of memory
	asked   int // kills when the shim last asked
	wake    func()
}

// soul is a process.
type soul struct {
	pid     int
	box     *box
	exec    string // its id, "" for init
	status  uint32
	oom     int // which of the box's kills for want of memory it was; 0: none
	ended   bool
	doomed  bool // killed while it was frozen
	adopted bool
	sent    bool // its end is with the reaper's goroutine
	heard   bool // onExit has returned
	onExit  func(reaper.Exit)
}

// parked is a call that waits for its word.
type parked struct {
	verb, id, exec string
	after          bool // its work is done already
	word           chan string
}

func (p *parked) String() string { return words(p.verb, p.id, p.exec) }

// words joins those that are not empty.
func words(all ...string) string {
	return strings.Join(slices.DeleteFunc(all, func(s string) bool { return s == "" }), " ")
}

func newWorld(blame func(format string, args ...any)) *world {
	w := &world{
		ends:  make(chan *soul, 1<<10),
		gone:  make(chan struct{}),
		blame: blame,
		boxes: make(map[string]*box),
		modes: make(map[string]string),
		holds: make(map[string]bool),
	}
	go w.reap()
	return w
}

// reap delivers the ends, one after the other, as the reaper's goroutine does.
func (w *world) reap() {
	defer close(w.gone)
	for s := range w.ends {
		s.onExit(reaper.Exit{Pid: s.pid, Status: s.status, At: time.Now()})
		w.mu.Lock()
		s.heard = true
		w.mu.Unlock()
	}
}

// park waits for the story's word about a call. It is an error word, or nil to
// go on, or the deadline's or the context's error.
func (w *world) park(ctx context.Context, p *parked) error {
	w.mu.Lock()
	if w.free {
		w.mu.Unlock()
		return nil
	}
	p.word = make(chan string, 1)
	w.parked = append(w.parked, p)
	w.mu.Unlock()
	timer := time.NewTimer(runtimeLimit)
	defer timer.Stop()
	var err error
	select {
	case word := <-p.word:
		if word != "" {
			return failure(p.verb, word, nil)
		}
		return nil
	case <-ctx.Done():
		err = failure(p.verb, "given up: "+ctx.Err().Error(), ctx.Err())
	case <-timer.C:
		err = failure(p.verb, "no answer within "+runtimeLimit.String(), runc.ErrDeadline)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parked = slices.DeleteFunc(w.parked, func(q *parked) bool { return q == p })
	return err
}

// release tells the oldest call of that name to go on, with word if it is to fail.
func (w *world) release(name, word string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.parked {
		if p.String() == name {
			w.parked = slices.Delete(w.parked, i, i+1)
			p.word <- word
			return true
		}
	}
	return false
}

func failure(verb, message string, cause error) error {
	return &runc.Error{Runtime: "runc", Verb: verb, Message: message, Status: 1, Err: cause}
}

// born makes a process. The lock is held.
func (w *world) born(b *box, exec string) *soul {
	w.pids++
	s := &soul{pid: w.pids, box: b, exec: exec}
	w.souls = append(w.souls, s)
	return s
}

// end ends a process, and what the kernel ends with it. The lock is held.
func (w *world) end(s *soul, status uint32) {
	if s.ended {
		return
	}
	if s == s.box.init && s.box.private {
		// The kernel ends a pid namespace's init last.
		for _, o := range w.souls {
			if o.box == s.box && o != s {
				w.end(o, 137)
			}
		}
	}
	s.ended, s.status = true, status
	if !w.holds["exits"] {
		w.deliver(s)
	}
}

// deliver gives an end to its owner, if it has one. The lock is held.
func (w *world) deliver(s *soul) {
	if s.ended && s.adopted && !s.sent {
		s.sent = true
		w.ends <- s
	}
}

// kill sends SIGKILL. The lock is held.
func (w *world) kill(s *soul) {
	if s.box.frozen {
		s.doomed = true
		return
	}
	w.end(s, 137)
}

// thaw is the end of a freeze. The lock is held.
func (w *world) thaw(b *box) {
	b.frozen = false
	for _, s := range w.souls {
		if s.box == b && s.doomed {
			w.end(s, 137)
		}
	}
}

// machine.

func (w *world) runtime(id, bundle string, _ *runcopts.Options) ociRuntime {
	return &fakeRuntime{w: w, id: id, bundle: bundle}
}

func (w *world) children() process.Children { return w }

func (w *world) group(pid int) (group, error) {
	w.mu.Lock()
	s := w.souls[pid-1]
	held := w.holds["group"]
	w.mu.Unlock()
	if held {
		_ = w.park(context.Background(), &parked{verb: "group", id: s.box.id, exec: s.exec})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.ended {
		return nil, cgroup.ErrGone
	}
	return fakeGroup{w, s.box}, nil
}

func (w *world) watchOOM(g group, wake func()) (oomWatch, error) {
	b := g.(fakeGroup).b
	w.mu.Lock()
	defer w.mu.Unlock()
	b.wake = wake
	b.asked = b.kills
	return &fakeOOM{w, b}, nil
}

func (w *world) clearGroup(_ context.Context, id, _, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.souls {
		if s.box.id == id && w.boxes[id] == nil {
			w.end(s, 137)
		}
	}
	return nil
}

type fakeGroup struct {
	w *world
	b *box
}

func (g fakeGroup) Kill() error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	for _, s := range g.w.souls {
		if s.box == g.b {
			g.w.kill(s)
		}
	}
	g.w.thaw(g.b)
	return nil
}

// Remove has nothing to do: runtimes there leave nothing.
func (g fakeGroup) Remove(context.Context) error { return nil }

// Signal is minded by nobody there.
func (g fakeGroup) Signal(unix.Signal, int) error { return nil }

func (g fakeGroup) Pids() ([]int, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	var pids []int
	for _, s := range g.w.souls {
		if s.box == g.b && !s.ended {
			pids = append(pids, s.pid)
		}
	}
	return pids, nil
}

func (g fakeGroup) Stats() (proto.Message, error) { return new(cgroups2.Metrics), nil }

func (g fakeGroup) BecomesFrozen(want bool) (bool, error) {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	return g.b.frozen == want, nil
}

func (g fakeGroup) Thaw() error {
	g.w.mu.Lock()
	defer g.w.mu.Unlock()
	g.w.thaw(g.b)
	return nil
}

type fakeOOM struct {
	w *world
	b *box
}

func (o *fakeOOM) Killed() bool {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	killed := o.b.kills > o.b.asked
	o.b.asked = o.b.kills
	return killed
}

func (o *fakeOOM) Close() {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.b.wake = nil
}

// Children.

type fakeClaim struct {
	w     *world
	since int // the pids given out before it
	over  bool
}

func (w *world) Claim() process.Claim {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &fakeClaim{w: w, since: w.pids}
}

func (c *fakeClaim) Adopt(pid int, onExit func(reaper.Exit)) (process.Child, error) {
	c.w.mu.Lock()
	s := c.w.souls[pid-1]
	held := c.w.holds["adopt"]
	c.w.mu.Unlock()
	if held {
		_ = c.w.park(context.Background(), &parked{verb: "adopt", id: s.box.id, exec: s.exec})
	}
	c.w.mu.Lock()
	twice := s.adopted
	s.adopted = true
	defer func() {
		c.w.mu.Unlock()
		if twice || c.over || pid <= c.since {
			c.w.blame("process %d is adopted twice, or under a claim that did not keep its zombie", pid)
		}
	}()
	if s.onExit = onExit; onExit == nil {
		s.onExit = func(reaper.Exit) {}
	}
	if !c.w.holds["exits"] {
		c.w.deliver(s)
	}
	return fakeChild{c.w, s}, nil
}

func (c *fakeClaim) End() { c.over = true }

type fakeChild struct {
	w *world
	s *soul
}

func (c fakeChild) Pid() int { return c.s.pid }

func (c fakeChild) Signal(sig unix.Signal) error {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.s.sent {
		return reaper.ErrGone
	}
	if sig == unix.SIGKILL {
		c.w.kill(c.s)
	}
	return nil
}

// fakeRuntime is the OCI runtime on one container.
type fakeRuntime struct {
	w          *world
	id, bundle string
}

// call is one run of the runtime: work, which is done under the world's lock,
// and around it what the story has for that verb.
func (r *fakeRuntime) call(ctx context.Context, verb, exec string, work func() error) error {
	if err := ctx.Err(); err != nil {
		return failure(verb, "given up: "+err.Error(), err)
	}
	r.w.mu.Lock()
	mode := r.w.modes[verb]
	if r.w.free {
		mode = ""
	}
	r.w.mu.Unlock()
	do := func() error {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		return work()
	}
	p := &parked{verb: verb, id: r.id, exec: exec}
	switch mode {
	case "stuck":
		if err := r.w.park(ctx, p); err != nil {
			return err
		}
		return do()
	case "stuck-after":
		if err := do(); err != nil {
			return err
		}
		p.after = true
		return r.w.park(ctx, p)
	case "fails":
		return failure(verb, "it fails", nil)
	case "fails-after":
		if err := do(); err != nil {
			return err
		}
		return failure(verb, "it fails after its work", nil)
	case "nothing":
		if verb == "start" || verb == "delete" || verb == "checkpoint" {
			return failure(verb, runc.ErrNotDone.Error(), runc.ErrNotDone) // package runc looks
		}
		return nil
	}
	return do()
}

// box finds the container. The world's lock is held.
func (r *fakeRuntime) box(verb string) (*box, error) {
	if b := r.w.boxes[r.id]; b != nil {
		return b, nil
	}
	return nil, failure(verb, "container does not exist", runc.ErrNotFound)
}

func (r *fakeRuntime) Create(ctx context.Context, o runc.CreateOpts) error {
	return r.make(ctx, "create", o.PidFile, false)
}

func (r *fakeRuntime) Restore(ctx context.Context, o runc.RestoreOpts) error {
	return r.make(ctx, "restore", o.PidFile, true)
}

// make makes the container.
func (r *fakeRuntime) make(ctx context.Context, verb, pidFile string, started bool) error {
	_ = os.Remove(pidFile)
	return r.call(ctx, verb, "", func() error {
		if r.w.boxes[r.id] != nil {
			return failure(verb, "container with id exists", runc.ErrExists)
		}
		config, err := os.ReadFile(filepath.Join(r.bundle, "config.json"))
		if err != nil {
			return failure(verb, err.Error(), runc.ErrInvalid)
		}
		b := &box{id: r.id, private: strings.Contains(string(config), `"pid"`), started: started}
		b.init = r.w.born(b, "")
		r.w.boxes[r.id] = b
		return writePid(pidFile, b.init.pid)
	})
}

func writePid(path string, pid int) error {
	return os.WriteFile(path, fmt.Appendf(nil, "%d", pid), 0o600)
}

func (r *fakeRuntime) Start(ctx context.Context) error {
	return r.call(ctx, "start", "", func() error {
		b, err := r.box("start")
		switch {
		case err != nil:
			return err
		case b.init.ended:
			return failure("start", "cannot start a container that has stopped", runc.ErrNotRunning)
		case b.started:
			return failure("start", "cannot start an already running container", runc.ErrRunning)
		}
		b.started = true
		return nil
	})
}

func (r *fakeRuntime) Exec(ctx context.Context, o runc.ExecOpts) error {
	_ = os.Remove(o.PidFile)
	exec := strings.TrimSuffix(filepath.Base(o.PidFile), ".pid")
	return r.call(ctx, "exec", exec, func() error {
		b, err := r.box("exec")
		switch {
		case err != nil:
			return err
		case b.init.ended:
			return failure("exec", "container not running", runc.ErrNotRunning)
		case b.frozen:
			return failure("exec", "container paused", runc.ErrPaused)
		}
		return writePid(o.PidFile, r.w.born(b, exec).pid)
	})
}

func (r *fakeRuntime) Delete(ctx context.Context, force bool) error {
	return r.call(ctx, "delete", "", func() error {
		b, err := r.box("delete")
		switch {
		case err != nil && force:
			return nil
		case err != nil:
			return err
		case !b.init.ended && !force:
			return failure("delete", "container is running", runc.ErrRunning)
		}
		b.frozen = false
		for _, s := range r.w.souls {
			if s.box == b {
				r.w.end(s, 137)
			}
		}
		delete(r.w.boxes, r.id)
		return nil
	})
}

func (r *fakeRuntime) Kill(ctx context.Context, _ int, _ bool) error {
	return r.call(ctx, "kill", "", func() error {
		_, err := r.box("kill")
		return err
	})
}

func (r *fakeRuntime) Pause(ctx context.Context) error {
	return r.call(ctx, "pause", "", func() error {
		b, err := r.box("pause")
		switch {
		case err != nil:
			return err
		case b.init.ended:
			return failure("pause", "container not running", runc.ErrNotRunning)
		}
		b.frozen = true
		return nil
	})
}

func (r *fakeRuntime) Resume(ctx context.Context) error {
	return r.call(ctx, "resume", "", func() error {
		b, err := r.box("resume")
		switch {
		case err != nil:
			return err
		case !b.frozen:
			return failure("resume", "container not paused", runc.ErrNotPaused)
		}
		r.w.thaw(b)
		return nil
	})
}

func (r *fakeRuntime) Update(ctx context.Context, _ []byte) error {
	return r.call(ctx, "update", "", func() error {
		_, err := r.box("update")
		return err
	})
}

func (r *fakeRuntime) Checkpoint(ctx context.Context, o runc.CheckpointOpts) error {
	return r.call(ctx, "checkpoint", "", func() error {
		b, err := r.box("checkpoint")
		switch {
		case err != nil:
			return err
		case b.init.ended:
			return failure("checkpoint", "container not running", runc.ErrNotRunning)
		}
		if !o.LeaveRunning {
			b.frozen = false
			r.w.end(b.init, 137)
		}
		return nil
	})
}

func (r *fakeRuntime) Scrub() error { return nil }
