package task

import (
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/events"
)

// watchOOM has the container told of processes of its group that are killed for
// want of memory. The watch is to be closed when the container goes; it is nil
// where nothing can be known.
func (s *Service) watchOOM(c *container, group group) oomWatch {
	if group == nil {
		return nil
	}
	oom, err := s.machine.watchOOM(group, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tellOOM()
	})
	if err != nil {
		c.log.Warn("OOM kills will not be told", log.Err(err))
	}
	return oom
}

// tellOOM publishes one event if processes were killed since the last. The lock is
// held: asking is a read of one file of the kernel's memory that stays open, which
// waits for nothing.
//
// It is asked when the kernel reports, and before every exit is told: the exit is
// often faster, and containerd must know by then why the process ended. While init
// is being started nothing is told, so that the start comes first; the end of the
// start asks again. After init's exit there is nobody left to tell.
func (c *container) tellOOM() {
	if state := c.init.State(); !state.Settled() || state >= process.Stopped {
		return
	}
	c.askOOM()
}

// askOOM is tellOOM in any state.
func (c *container) askOOM() {
	if c.oom != nil && c.oom.Killed() {
		c.events.PublishOnce("/tasks/oom", &events.TaskOOM{ContainerId: c.id})
	}
}
