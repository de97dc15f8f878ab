package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
)

// actor lives one life after the other, by the decisions of its own seed.
type actor struct {
	*node
	name string
	rng  *rand.Rand
}

func (a *actor) newLife(id string) *life {
	l := &life{
		node: a.node, id: id, rng: rand.New(rand.NewPCG(a.rng.Uint64(), a.rng.Uint64())),
		outputs: make(map[*output]bool), procs: make(map[string]*proc),
	}
	l.hasty = a.rng.IntN(6) == 0
	l.proc("")
	a.mu.Lock()
	a.all = append(a.all, l)
	a.mu.Unlock()
	return l
}

// live is one life, or a pod's lives.
func (a *actor) live(number int) {
	id := fmt.Sprintf("%s-%d", a.name, number)
	l := a.newLife(id)
	if a.rng.IntN(5) == 0 {
		a.pod(l)
		return
	}
	a.kind(l.rng)(l, nil, false)
}

// kind picks what a container does.
func (a *actor) kind(rng *rand.Rand) func(*life, *life, bool) {
	return []func(*life, *life, bool){
		(*life).brief, (*life).brief,
		(*life).worker, (*life).worker, (*life).worker,
		(*life).outOfMemory,
		(*life).talker, (*life).talker,
		(*life).neverStarted,
		(*life).paused,
		(*life).shared,
	}[rng.IntN(11)]
}

// pod is a sandbox with containers that come and go beside each other.
func (a *actor) pod(sandbox *life) {
	sandbox.hasty = false
	apps := 1 + a.rng.IntN(3)
	_, ok := sandbox.create(want{args: []string{"sleep", "100000"}})
	var wg sync.WaitGroup
	for i := range apps {
		// Drawn in any case: the decisions do not depend on what came of others.
		app := a.newLife(fmt.Sprintf("%s-%d", sandbox.id, i))
		kind, join := a.kind(app.rng), a.rng.IntN(2) == 0
		if ok {
			wg.Go(func() { kind(app, sandbox, join && app.Dialect == client.DialectBootstrap) })
		}
	}
	if !ok {
		return
	}
	_, err := sandbox.start("", 0)
	wg.Wait()
	if err == nil {
		err = sandbox.killed()
	}
	sandbox.finish(err)
}

// killed ends init and waits for its end.
func (l *life) killed() error {
	if err := l.kill("", unix.SIGKILL, false); err != nil {
		return err
	}
	_, err := l.wait("")
	return err
}

// ended starts init and waits until it ends by itself; one that did not start is
// killed.
func (l *life) ended() (started answer, err error) {
	if started, err = l.start("", l.haste()); err != nil {
		return started, err
	}
	if started == no {
		return no, l.killed()
	}
	_, err = l.wait("")
	return started, err
}

func status(n uint32) *uint32 { return &n }

// brief ends by itself.
func (l *life) brief(sandbox *life, join bool) {
	code := uint32(l.rng.IntN(256))
	_, ok := l.create(want{
		args: []string{"sh", "-c", fmt.Sprintf("exit %d", code)}, status: &code, sandbox: sandbox, join: join,
	})
	if !ok {
		return
	}
	_, err := l.ended()
	l.finish(err)
}

// worker has execs until it is killed.
func (l *life) worker(sandbox *life, join bool) {
	_, ok := l.create(want{args: []string{"sleep", "100000"}, status: status(137), sandbox: sandbox, join: join})
	if !ok {
		return
	}
	started, err := l.start("", l.haste())
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for i := range 1 + l.rng.IntN(6) {
		w := want{status: status(uint32(l.rng.IntN(256)))}
		kill, haste := false, l.haste()
		switch l.rng.IntN(5) {
		case 0:
			w.args, w.status = []string{"seq", fmt.Sprint(1 + l.rng.IntN(30000))}, status(0)
		case 1:
			w.args, w.status, w.terminal = []string{"seq", fmt.Sprint(1 + l.rng.IntN(2000))}, status(0), true
		case 2:
			w.args, kill = []string{"sleep", "100000"}, true
		case 3:
			w.args = []string{"sh", "-c", fmt.Sprintf("sleep 0.2 & exit %d", *w.status)}
		default:
			w.args = []string{"sh", "-c", fmt.Sprintf("exit %d", *w.status)}
		}
		if err != nil || started == no {
			continue
		}
		run := func() {
			if err := l.exec(fmt.Sprintf("x%d", i), w, haste, kill); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		}
		if l.rng.IntN(2) == 0 {
			wg.Go(run)
		} else {
			run()
		}
	}
	wg.Wait()
	for _, e := range errs {
		if err == nil || errors.Is(e, errLost) {
			err = e
		}
	}
	if err == nil {
		err = l.killed()
	}
	l.finish(err)
}

// outOfMemory is killed by the kernel, which is told before its exit.
func (l *life) outOfMemory(sandbox *life, join bool) {
	_, ok := l.create(want{
		args: []string{"tail", "/dev/zero"}, status: status(137), sandbox: sandbox, join: join,
		edit: func(s *client.Spec) {
			limit := int64(16 << 20)
			s.Linux.Resources.Memory = &client.SpecMemory{Limit: &limit, Swap: &limit}
		},
	})
	if !ok {
		return
	}
	started, err := l.ended()
	l.finish(err)
	l.oom = l.deleted && started == yes
}

// talker says more than pipes hold, whoever listens.
func (l *life) talker(sandbox *life, join bool) {
	w := want{args: []string{"seq", fmt.Sprint(1 + l.rng.IntN(100000))}, status: status(0), sandbox: sandbox, join: join}
	if w.terminal = l.rng.IntN(3) == 0; w.terminal {
		w.args[1] = fmt.Sprint(1 + l.rng.IntN(5000))
	}
	out, ok := l.create(w)
	if !ok {
		return
	}
	started, err := l.ended()
	if err == nil && started == yes {
		err = l.said(out, w)
	}
	l.finish(err)
}

func (l *life) neverStarted(sandbox *life, join bool) {
	if _, ok := l.create(want{args: []string{"true"}, sandbox: sandbox, join: join}); ok {
		l.finish(nil)
	}
}

// paused is frozen, perhaps thawed, and killed.
func (l *life) paused(sandbox *life, join bool) {
	_, ok := l.create(want{args: []string{"sleep", "100000"}, status: status(137), sandbox: sandbox, join: join})
	if !ok {
		return
	}
	resume := l.rng.IntN(2) == 0
	started, err := l.start("", l.haste())
	if err == nil && started != no {
		// Either may fail: runc gives up on a slow freezer, and may be struck.
		err = l.call(func(ctx context.Context, c *client.Container) error {
			_, err := c.Shim.Task.Pause(ctx, &task.PauseRequest{Id: l.id})
			l.note("pause: %v", err)
			return onlyBroken(err)
		})
		if err == nil && resume {
			err = l.call(func(ctx context.Context, c *client.Container) error {
				_, err := c.Shim.Task.Resume(ctx, &task.ResumeRequest{Id: l.id})
				l.note("resume: %v", err)
				return onlyBroken(err)
			})
		}
	}
	if err == nil {
		err = l.killed()
	}
	l.finish(err)
}

// onlyBroken leaves of an error what call has to know.
func onlyBroken(err error) error {
	if broken(err) {
		return err
	}
	return nil
}

// shared has the machine's pids, and leaves a process behind.
func (l *life) shared(sandbox *life, join bool) {
	_, ok := l.create(want{
		args: []string{"sh", "-c", "setsid sleep 100000 & exec sleep 100000"}, status: status(137), sandbox: sandbox, join: join,
		edit: func(s *client.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n client.SpecNamespace) bool { return n.Type == "pid" })
		},
	})
	if !ok {
		return
	}
	_, err := l.start("", l.haste())
	if err == nil {
		err = l.killed()
	}
	l.finish(err)
}
