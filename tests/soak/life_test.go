package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// life is one container, as the daemon sees it: from its bundle to its deletion,
// or to the cleaning up after its shim's death.
type life struct {
	*node
	id      string
	rng     *rand.Rand // of the actor that lives it
	hasty   bool       // its client gives up some calls, and then tries again
	bundle  *client.Bundle
	created bool
	lost    bool                 // its shim was killed
	last    *task.DeleteResponse // what `delete` told then
	deleted bool                 // by an answered Delete
	oom     bool                 // the kernel has killed it for want of memory

	again sync.Mutex // held by who connects anew

	// Guarded by node.mu.
	shim    int // its pid, 0 until known
	c       *client.Container
	outputs map[*output]bool
	procs   map[string]*proc // by exec id, init's is empty
	notes   []string
}

// proc is what the life knows of one of its processes.
type proc struct {
	started answer
	want    *uint32 // how it ends unless it is killed; nil: no telling
	told    *uint32 // by Wait
	deleted *uint32 // told by Delete
}

// answer is what is known of a call.
type answer int

const (
	no    answer = iota
	maybe        // its answer was not heard
	yes
)

// output is what a process says, and the fifos it goes through.
type output struct {
	harness.Output
	stdout, stderr string
	terminal       bool
	io             *client.IO // guarded by node.mu
}

func (o *output) streams() client.Streams {
	return client.Streams{Stdout: o, Stderr: o, Terminal: o.terminal}
}

// errLost says that the chaos has killed the life's shim.
var errLost = errors.New("the shim was killed")

func (l *life) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.notes = append(l.notes, time.Now().UTC().Format("15:04:05.000000 ")+fmt.Sprintf(format, args...))
}

// fail fails the test and tells the life's story.
func (l *life) fail(format string, args ...any) {
	l.mu.Lock()
	notes := strings.Join(l.notes, "\n    ")
	shim := l.shim
	l.mu.Unlock()
	l.t.Errorf("%s (shim %d): %s\n    %s\n    events: %q", l.id, shim, fmt.Sprintf(format, args...), notes, l.Story(l.id))
}

func (l *life) proc(id string) *proc {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.procs[id]
	if p == nil {
		p = new(proc)
		l.procs[id] = p
	}
	return p
}

// broken reports whether err says that the connection broke off.
func broken(err error) bool {
	return errors.Is(err, ttrpc.ErrClosed) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
}

// refusedDial reports whether err says that nobody listens.
func refusedDial(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

func gaveUp(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || client.Code(err) == codes.DeadlineExceeded
}

// haste draws how long the client waits for an answer before it gives up, 0 if it
// does not.
func (l *life) haste() time.Duration {
	if !l.hasty || l.rng.IntN(2) == 0 {
		return 0
	}
	return time.Duration(1+l.rng.IntN(60)) * time.Millisecond
}

// temper is the context of a client that waits so long.
func (l *life) temper(haste time.Duration) (context.Context, context.CancelFunc) {
	if haste > 0 {
		return context.WithTimeout(context.Background(), haste)
	}
	return l.patience()
}

func (l *life) container() *client.Container {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c
}

// call has a shim answer f, connecting anew as often as the daemon comes back.
func (l *life) call(f func(context.Context, *client.Container) error) error {
	for {
		c := l.container()
		ctx, cancel := l.patience()
		err := f(ctx, c)
		cancel()
		if !broken(err) {
			return err
		}
		if err := l.reconnect(c); err != nil {
			return err
		}
	}
}

// reconnect replaces a connection that broke, when the daemon is there.
func (l *life) reconnect(old *client.Container) error {
	l.again.Lock()
	defer l.again.Unlock()
	for end := time.Now().Add(harness.Patience); ; {
		l.waitUp()
		if c := l.container(); c != old && c != nil {
			return nil
		}
		if l.wasKilled(l.shim) {
			return errLost
		}
		ctx, cancel := l.patience()
		c, err := l.Open(ctx, l.id)
		cancel()
		switch {
		case err == nil:
			l.attach(c)
			return nil
		case l.wasKilled(l.shim):
			return errLost
		case !broken(err) || time.Now().After(end):
			return fmt.Errorf("connect again: %w", err)
		}
	}
}

// attach makes c the life's connection, if the daemon is still there.
func (l *life) attach(c *client.Container) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		l.c.Shim.Close()
	}
	l.c = c
	if !l.isUp {
		c.Shim.Close()
	}
}

// detach is the daemon's going away. The node's lock is held.
func (l *life) detach() {
	if l.c != nil {
		l.c.Shim.Close()
	}
	for o := range l.outputs {
		o.io.Detach()
	}
}

// attachOutputs has the daemon read again. The node's lock is held.
func (l *life) attachOutputs() {
	for o := range l.outputs {
		again, err := client.OpenIO("", o.stdout, o.stderr, o.streams())
		if err != nil {
			l.t.Errorf("%s: read again: %v", l.id, err)
			continue
		}
		o.io = again
	}
}

// open makes the fifos of a process.
func (l *life) open(id string, terminal bool) (*output, error) {
	o := &output{terminal: terminal}
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if o.io, err = client.NewIO(l.Fifos, id, o.streams()); err != nil {
		return nil, err
	}
	o.stdout, o.stderr = o.io.Stdout, o.io.Stderr
	if !l.isUp {
		o.io.Detach()
	}
	l.outputs[o] = true
	return o, nil
}

func (l *life) closeOutput(o *output) {
	l.mu.Lock()
	delete(l.outputs, o)
	io := o.io
	l.mu.Unlock()
	if err := io.Close(); err != nil {
		l.fail("%v", err)
	}
}

func (l *life) closeOutputs() {
	l.mu.Lock()
	outputs := l.outputs
	l.outputs = make(map[*output]bool)
	l.mu.Unlock()
	for o := range outputs {
		if err := o.io.Close(); err != nil {
			l.fail("%v", err)
		}
	}
}

// want says what container a life is.
type want struct {
	args     []string
	terminal bool
	status   *uint32
	edit     func(*client.Spec)
	sandbox  *life // whose shim it shares
	join     bool  // without another run of `start`
}

// create brings the container into being; false if nothing came of it, which the
// daemon has cleared away then.
func (l *life) create(w want) (*output, bool) {
	l.ExpectSocket(l.id)
	spec := client.DefaultSpec(l.Namespace, l.id, w.args...)
	spec.Process.Terminal = w.terminal
	if w.sandbox != nil {
		spec.Annotate(client.SandboxAnnotation, w.sandbox.id)
	}
	if w.edit != nil {
		w.edit(spec)
	}
	config, err := spec.JSON()
	if err != nil {
		l.fail("%v", err)
		return nil, false
	}
	rootfs, err := l.Overlay(l.id)
	if err != nil {
		l.fail("%v", err)
		return nil, false
	}
	if l.bundle, err = l.NewBundle(l.id, config); err != nil {
		l.fail("%v", err)
		return nil, false
	}
	haste := l.haste()
	begun := time.Now()
	ctx, cancel := l.temper(haste)
	defer cancel()
	l.note("create %q, terminal %v, haste %v", w.args, w.terminal, haste)
	l.proc("").want = w.status
	var s *client.Shim
	if w.sandbox != nil && w.join {
		s, err = l.Join(ctx, l.bundle, w.sandbox.container().Shim)
	} else {
		s, err = l.Launcher.Start(ctx, l.bundle, nil)
	}
	if err != nil {
		l.note("no shim: %v", err)
		// The shim that it was to share may be killed at any moment.
		shared := w.sandbox != nil && l.wasKilled(w.sandbox.shim) && (broken(err) || refusedDial(err))
		// One that waits for too long for its first container ends.
		late := refusedDial(err) && time.Since(begun) > idle
		if haste == 0 && !shared && !late {
			l.fail("start: %v", err)
		}
		l.clearAway()
		return nil, false
	}
	defer s.Close()
	if pid, err := s.Pid(ctx); err == nil {
		l.mu.Lock()
		l.shim = pid
		l.mu.Unlock()
	} else if w.sandbox != nil {
		l.mu.Lock()
		l.shim = w.sandbox.shim
		l.mu.Unlock()
	}
	out, err := l.open(l.id, w.terminal)
	if err != nil {
		l.fail("%v", err)
		return nil, false
	}
	l.mu.Lock()
	l.lives[l.id] = l
	l.c = nil
	up := l.isUp
	l.mu.Unlock()
	// A daemon that goes away from here on breaks this connection off.
	stop := l.follow(s, up)
	_, err = s.Task.Create(ctx, &task.CreateTaskRequest{
		Id: l.id, Bundle: l.bundle.Path, Rootfs: []*types.Mount{rootfs}, Terminal: w.terminal, Stdout: out.stdout, Stderr: out.stderr,
	})
	stop()
	l.note("create: %v", err)
	if err == nil {
		l.created = true
	}
	if err == nil || broken(err) {
		switch found := l.reconnect(nil); {
		case errors.Is(found, errLost):
			l.lost = true
			l.cleanUp()
			return nil, false
		case found != nil && (err == nil || !refusedDial(found)):
			l.fail("%v", found)
			return nil, false
		case found != nil:
			// The shim held nothing when the daemon came back and has ended.
			l.note("%v", found)
			l.clearAway()
			return nil, false
		}
		there := l.call(func(ctx context.Context, c *client.Container) error {
			_, err := c.State(ctx)
			return err
		})
		switch {
		case there == nil:
			l.created = true
			l.sum.containers.Add(1)
			return out, true
		case errors.Is(there, errLost):
			l.lost = true
			l.cleanUp()
			return nil, false
		case l.created:
			l.fail("the container is not there after its create was answered: %v", there)
		}
	} else if gaveUp(err) {
		l.sum.givenUp.Add(1)
	}
	l.undo(s)
	return nil, false
}

// follow breaks a connection off when the daemon goes away, or at once if it was
// away already, until stop.
func (l *life) follow(s *client.Shim, up bool) (stop func()) {
	if !up {
		s.Close()
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			l.mu.Lock()
			up := l.isUp
			l.mu.Unlock()
			if !up {
				s.Close()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// undo is what a daemon does after a create that failed.
func (l *life) undo(s *client.Shim) {
	l.waitUp()
	ctx, cancel := l.patience()
	defer cancel()
	_, err := s.Task.Delete(ctx, &task.DeleteRequest{Id: l.id})
	if broken(err) {
		if again, err := l.Load(ctx, l.bundle); err == nil {
			_, err = again.Task.Delete(ctx, &task.DeleteRequest{Id: l.id})
			l.note("undo: delete: %v", err)
			again.Shutdown(ctx)
			again.Close()
		}
	} else {
		l.note("undo: delete: %v", err)
		s.Shutdown(ctx)
	}
	l.clearAway()
}

// clearAway runs `delete` on what never became a container, and forgets it.
func (l *life) clearAway() {
	ctx, cancel := l.patience()
	defer cancel()
	l.leave()
	if _, err := l.Delete(ctx, l.bundle); err != nil {
		l.fail("delete of what was not created: %v", err)
	}
	l.closeOutputs()
	if err := l.bundle.Delete(); err != nil {
		l.fail("%v", err)
	}
}

// leave takes the life off the node's list and ends its connection.
func (l *life) leave() {
	l.mu.Lock()
	delete(l.lives, l.id)
	c := l.c
	l.mu.Unlock()
	if c != nil {
		c.Shim.Close()
	}
}

// cleanUp is what the daemon does when the shim is gone: it runs `delete`,
// here twice, which must tell what was told before.
func (l *life) cleanUp() {
	l.leave()
	ctx, cancel := l.patience()
	defer cancel()
	record, recordErr := bundle.ReadExitRecord(l.bundle.Path)
	for range 2 {
		r, err := l.Delete(ctx, l.bundle)
		if err != nil {
			l.fail("delete after the shim's death: %v", err)
			break
		}
		l.note("delete after the shim's death: pid %d, status %d; record %+v, %v", r.Pid, r.ExitStatus, record, recordErr)
		l.last = r
		p := l.proc("")
		switch {
		case p.told != nil && r.ExitStatus != *p.told:
			l.fail("delete told status %d, and %d was told before the shim's death", r.ExitStatus, *p.told)
		case recordErr == nil && (r.ExitStatus != record.Status || int(r.Pid) != record.Pid):
			l.fail("delete told %+v, the record is %+v", r, record)
		case recordErr != nil && r.ExitStatus != 137:
			l.fail("delete told status %d of a container whose end nobody recorded", r.ExitStatus)
		}
	}
	l.sum.deletes.Add(1)
	if recordErr == nil {
		l.sum.known.Add(1)
	}
	l.closeOutputs()
	if err := l.bundle.Delete(); err != nil {
		l.fail("%v", err)
	}
}
