package task

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/cgroup"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/mount"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
)

// Delete forgets a process that is stopped or was never started; init's takes
// the container with it. Once begun it is finished, whether or not the client
// waits, and who asks again gets the same answer.
//
// A container that is being made is one whose client has given up on it: ttrpc
// tells a server nothing of that while the connection stands. It is undone.
func (s *Service) Delete(ctx context.Context, r *task.DeleteRequest) (*task.DeleteResponse, error) {
	if c := s.making(r.Id); c != nil && r.ExecId == "" {
		c.giveUp()
		leave, err := c.init.Enter(ctx)
		if err != nil {
			return nil, answer(err)
		}
		leave()
	}
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		if resp := s.answers.find(r.Id, r.ExecId); resp != nil {
			return resp, nil
		}
		return nil, err
	}
	c.mu.Unlock()
	leave, err := p.Enter(ctx)
	if err != nil {
		return nil, answer(err)
	}
	defer leave()
	var resp *task.DeleteResponse
	if p.Init {
		resp, err = s.deleteInit(context.WithoutCancel(ctx), c)
	} else {
		resp, err = s.deleteExec(c, p)
	}
	if err != nil {
		c.log.Warn("delete failed", log.String("exec", r.ExecId), log.Err(err))
		return nil, answer(err)
	}
	return resp, nil
}

func (s *Service) deleteExec(c *container, p *process.Process) (*task.DeleteResponse, error) {
	c.mu.Lock()
	if p.State() == process.Deleted {
		c.mu.Unlock()
		return answerDelete(p), nil // by the Delete that this one waited for
	}
	if state := p.State(); state != process.Added && state != process.Stopped {
		c.mu.Unlock()
		return nil, fmt.Errorf("delete exec %q: %w: process is %s", p.ID, process.ErrState, state)
	}
	streams := p.Streams()
	c.mu.Unlock()

	if streams != nil {
		if !streams.Drain(s.Drain) {
			c.log.Warn("output of an exec is not read", log.String("exec", p.ID))
		}
		streams.CloseInput()
		streams.Release()
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if err := p.To(process.Deleted); err != nil {
		return nil, fmt.Errorf("delete exec %q: %w", p.ID, err)
	}
	delete(c.execs, p.ID)
	resp := answerDelete(p)
	s.answers.keep(c.id, p.ID, resp)
	if streams != nil {
		// A child that the exec left behind may still write. What it says is moved for
		// a while; the clients of containerd wait for the end of it.
		go func() {
			cut := time.AfterFunc(s.Drain, streams.Cut)
			streams.Wait()
			cut.Stop()
			streams.Close()
			c.mu.Lock()
			delete(c.streams, streams)
			c.mu.Unlock()
		}()
	}
	return resp, nil
}

// groupLimit is how long processes that were killed may take to leave their group.
const groupLimit = 5 * time.Second

// removeGroup removes what a runtime may leave: runc gives up on a group that is busy
// for a third of a second, as it is when a machine has no time for those who are
// dying in it, and says so to its log alone.
func (c *container) removeGroup(ctx context.Context, g group) {
	if g == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, groupLimit)
	defer cancel()
	if err := g.Remove(ctx); err != nil && !errors.Is(err, cgroup.ErrNotOwn) {
		c.log.Warn("the container's cgroup is left", log.Err(err))
	}
}

func (s *Service) deleteInit(ctx context.Context, c *container) (*task.DeleteResponse, error) {
	if err := c.stopCreated(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	state, unmade, gone := c.init.State(), c.unmade(), c.deleted
	group, oom := c.group, c.oom
	streams := make([]*stdio.Streams, 0, len(c.streams))
	for st := range c.streams {
		streams = append(streams, st)
	}
	own := c.init.Streams()
	c.mu.Unlock()
	if gone != nil {
		return gone, nil // by the Delete that this one waited for
	}
	if state != process.Stopped && !unmade {
		return nil, fmt.Errorf("delete container %q: %w: container is %s", c.id, process.ErrState, state)
	}

	switch {
	case group == nil:
	case c.private:
		// Version 2 lets a frozen init die of SIGKILL, whoever sent it. What is left
		// is an empty group that is frozen, and a runtime that says "paused".
		if err := group.Thaw(); err != nil && !errors.Is(err, cgroup.ErrNotOwn) {
			c.log.Warn("the container's cgroup may be frozen", log.Err(err))
		}
	default:
		if err := group.Kill(); err != nil {
			c.log.Warn("processes may be left in the container's cgroup", log.Err(err))
		}
	}
	if own != nil && !unmade && !own.Drain(s.Drain) {
		c.log.Warn("output of the container is not read")
	}
	// With force what a failed restore may have left that could not be undone.
	if err := c.runtime.Delete(ctx, unmade); err != nil && !errors.Is(err, runc.ErrNotFound) {
		return nil, err
	}
	c.removeGroup(ctx, group)
	rootfs := filepath.Join(c.bundle, bundle.Rootfs)
	if err := mount.UnmountAll(rootfs); err != nil {
		return nil, fmt.Errorf("unmount the rootfs of container %q: %w", c.id, err)
	}
	if oom != nil {
		oom.Close()
	}
	closeAll(streams)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.init.To(process.Deleted); err != nil {
		return nil, fmt.Errorf("delete container %q: %w", c.id, err)
	}
	for _, e := range c.execs {
		if e.State() == process.Added {
			_ = e.To(process.Deleted) // wakes who waits for an end that cannot come
		}
	}
	c.deleted = answerDelete(c.init)
	c.events.Publish("/tasks/delete", &events.TaskDelete{
		ContainerId: c.id,
		Pid:         c.deleted.Pid,
		ExitStatus:  c.deleted.ExitStatus,
		ExitedAt:    c.deleted.ExitedAt,
	})
	s.answers.keep(c.id, "", c.deleted)
	s.forget(c)
	return c.deleted, nil
}

// stopCreated ends an init that was never started and waits for its end, so
// that its exit is told before its deletion.
func (c *container) stopCreated(ctx context.Context) error {
	c.mu.Lock()
	waits := c.init.State() == process.Created && c.restoration == nil
	if waits {
		if err := c.init.Signal(unix.SIGKILL); err != nil && !errors.Is(err, process.ErrFinished) {
			c.mu.Unlock()
			return err
		}
	}
	c.mu.Unlock()
	if !waits {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, killLimit)
	defer cancel()
	select {
	case <-c.init.Stopped():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("delete container %q: init does not end: %w", c.id, ctx.Err())
	}
}

func answerDelete(p *process.Process) *task.DeleteResponse {
	exit := p.Exit()
	resp := &task.DeleteResponse{Pid: uint32(p.Pid()), ExitStatus: exit.Status}
	if !exit.At.IsZero() {
		resp.ExitedAt = wkt.Time(exit.At)
	}
	return resp
}
