package task

import (
	"context"
	"sync"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
)

// publisher is where events go, [events.Queue]: it keeps the order of the calls
// and never waits.
type publisher interface {
	Publish(topic string, event proto.Message)
	// PublishOnce leaves out an event that waits already.
	PublishOnce(topic string, event proto.Message)
	// Full reports that so many events wait that no request may cause more.
	Full() bool
}

// container is one container of the shim.
//
// Its lock guards the fields below it and the state of all its processes.
// Events are published under it, so that their order is the order in which
// the states changed.
type container struct {
	id       string
	bundle   string
	runtime  ociRuntime
	events   publisher
	log      *log.Logger
	owner    stdio.Owner // of the pipes
	criuWork string      // where criu works if nobody says; "": the container's own directory
	private  bool        // has a pid namespace of its own: the kernel ends the others with init
	over     func()      // called when there is no init any more, or not yet; must not block or take a lock
	giveUp   func()      // has Create undo what it does, if it is not done yet

	init *process.Process // set when made; its state is guarded

	mu          sync.Mutex
	restoration *restoration // how Start is to make init; nil if Create did
	execs       map[string]*exec
	group       group                       // nil until init is there, and where it has none of its own
	oom         oomWatch                    // of group; nil where nothing can be known
	streams     map[*stdio.Streams]struct{} // opened and not closed; those of deleted execs may still move bytes
	deleted     *task.DeleteResponse        // what Delete answered, for a client that asks again
}

// exec is an additional process of the container.
type exec struct {
	*process.Process
	spec   []byte
	cancel context.CancelFunc // ends a start that is under way; guarded by the container's lock
}

// find returns the process of a request, or nil. Empty is init.
func (c *container) find(execID string) *process.Process {
	if execID == "" {
		return c.init
	}
	if e := c.execs[execID]; e != nil {
		return e.Process
	}
	return nil
}

// mayCause refuses a request that begins something to be told of, while containerd
// has not heard of what was before: a daemon that goes on asking and takes no
// events would have the queue grow without end. What must happen all the same
// (starts of what was added, exits, deletes) is bounded by what there is.
func (c *container) mayCause(what string) error {
	if !c.events.Full() {
		return nil
	}
	return status.Errorf(codes.Unavailable, "%s in container %q: containerd takes no events from this shim, and too many wait for it", what, c.id)
}

// exited takes the end of p from the reaper.
func (c *container) exited(p *process.Process, e reaper.Exit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.HasEnded() {
		return // an exec that was given up: its end was told already
	}
	p.Ended(e)
	if p.Init {
		c.endOthers()
	}
	c.settle(p)
}

// unmade reports whether the container has no init: one that is to be restored by its
// start. The lock is held.
func (c *container) unmade() bool {
	return c.init.State() == process.Created && c.restoration != nil
}

// settle tells the end of p if it is known and may be told: not before p's
// start was, and init's not before those of its execs. What the kernel killed
// for want of memory is told before. The lock is held.
func (c *container) settle(p *process.Process) {
	c.tellOOM()
	if p.Init && c.unmade() {
		c.over()
		return
	}
	if !p.HasEnded() || !p.State().Settled() || p.State() >= process.Stopped {
		return
	}
	if p.Init && c.execsLive() {
		return // the last of them settles init
	}
	if err := p.To(process.Stopped); err != nil {
		c.log.Error("an exit in a state that knows none", log.String("exec", p.ID), log.Err(err))
		return
	}
	if !p.Init {
		c.askOOM() // also while init is being started: it was this one's reason
	}
	exit := p.Exit()
	if p.Init {
		c.record(exit)
		c.over()
	}
	c.events.Publish("/tasks/exit", &events.TaskExit{
		ContainerId: c.id,
		Id:          p.ID,
		Pid:         uint32(exit.Pid),
		ExitStatus:  exit.Status,
		ExitedAt:    wkt.Time(exit.At),
	})
	if !p.Init {
		c.settle(c.init)
	}
}

// execsLive reports whether an exec runs or is being started.
func (c *container) execsLive() bool {
	for _, e := range c.execs {
		if s := e.State(); s > process.Added && s < process.Stopped {
			return true
		}
	}
	return false
}

// endOthers ends what init leaves behind: starts that can come to nothing any
// more, and, where the kernel does not do it with the pid namespace, every
// process of the container. The lock is held; nothing here waits.
func (c *container) endOthers() {
	for _, e := range c.execs {
		if e.cancel != nil {
			e.cancel()
		}
		if !c.private {
			_ = e.Signal(unix.SIGKILL) // ErrFinished is as good
		}
	}
	if group := c.group; group != nil && !c.private {
		go func() {
			if err := group.Kill(); err != nil {
				c.log.Warn("processes may be left of a container whose init has ended", log.Err(err))
			}
		}()
	}
}

// record writes init's end to the bundle, for `delete` to tell should the shim
// die: before anybody else is told, so that what was told once stays true. The
// bundle lies in memory (/run), where a small file is written in microseconds.
func (c *container) record(e reaper.Exit) {
	err := bundle.ExitRecord{Pid: e.Pid, Status: e.Status, ExitedAt: e.At}.Write(c.bundle)
	if err != nil {
		c.log.Warn("the exit could not be recorded in the bundle", log.Err(err))
	}
}

// opened writes down the stdio of p. The lock is held.
func (c *container) opened(p *process.Process, s *stdio.Streams) error {
	c.streams[s] = struct{}{}
	return p.Opened(s)
}
