package task

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// Start lets init run its program, or brings an exec into being. Once begun it
// is finished, whether or not the client waits for it.
func (s *Service) Start(ctx context.Context, r *task.StartRequest) (*task.StartResponse, error) {
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	c.mu.Unlock()
	leave, err := p.Enter(ctx)
	if err != nil {
		return nil, answer(err)
	}
	defer leave()
	work := context.WithoutCancel(ctx)
	if p.Init {
		err = s.startInit(work, c)
	} else {
		err = s.startExec(work, c, p)
	}
	if err != nil {
		c.log.Warn("start failed", log.String("exec", r.ExecId), log.Err(err))
		return nil, answer(err)
	}
	return &task.StartResponse{Pid: uint32(p.Pid())}, nil
}

func (s *Service) startInit(ctx context.Context, c *container) error {
	c.mu.Lock()
	err := c.init.To(process.Starting)
	restoration := c.restoration
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start container %q: %w", c.id, err)
	}
	if restoration != nil {
		return s.restore(ctx, c, restoration)
	}
	err = c.runtime.Start(ctx)
	if errors.Is(err, runc.ErrRunning) {
		err = nil // by an attempt before this one, which was given up when it had done its work
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.settle(c.init)
	if err != nil {
		// Init still waits: the start may be tried again, or the container
		// deleted. If it has ended, that is told now.
		_ = c.init.To(process.Created)
		return fmt.Errorf("OCI runtime start failed: %w", err)
	}
	if err := c.init.To(process.Running); err != nil {
		return err
	}
	c.events.Publish("/tasks/start", &events.TaskStart{ContainerId: c.id, Pid: uint32(c.init.Pid())})
	return nil
}

func (s *Service) startExec(ctx context.Context, c *container, p *process.Process) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	e := c.execs[p.ID]
	err := c.execPossible()
	if err == nil && e == nil {
		err = notFound("process", p.ID) // deleted while we waited for the slot
	}
	if err == nil {
		err = p.To(process.Starting)
	}
	if err == nil {
		e.cancel = cancel
	}
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("start exec %q: %w", p.ID, err)
	}
	child, err := s.launchExec(ctx, c, e)

	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.settle(c.init) // it may have waited for this exec alone
	defer c.settle(p)
	e.cancel = nil
	e.spec = nil // it starts once
	if err != nil {
		// It never ran, so nobody is told of its end; but who waits for it
		// learns that there is nothing to wait for.
		p.Failed()
		_ = p.To(process.Stopped)
		return err
	}
	p.Made(child)
	if err := p.To(process.Running); err != nil {
		return err
	}
	if c.init.HasEnded() && !c.private {
		_ = p.Signal(unix.SIGKILL) // it came too late to be ended with the others
	}
	c.events.Publish("/tasks/exec-started", &events.TaskExecStarted{ContainerId: c.id, ExecId: p.ID, Pid: uint32(child.Pid())})
	return nil
}

func (s *Service) launchExec(ctx context.Context, c *container, e *exec) (process.Child, error) {
	streams, err := s.openStdio(ctx, c, e.Process)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	err = c.opened(e.Process, streams)
	c.mu.Unlock()
	if err != nil {
		c.log.Warn("stdio", log.String("exec", e.ID), log.Err(err))
	}
	launch := process.Launch{
		Runtime:  c.runtime,
		Bundle:   c.bundle,
		Children: s.machine.children(),
		Streams:  streams,
		OnExit:   func(x reaper.Exit) { c.exited(e.Process, x) },
	}
	child, err := launch.Exec(ctx, e.ID, e.spec)
	if err != nil {
		streams.Close()
		return nil, err
	}
	return child, nil
}

// execPossible reports whether the container's state lets an exec begin. The
// lock is held.
func (c *container) execPossible() error {
	switch state := c.init.State(); {
	case c.init.HasEnded() || state >= process.Stopped:
		return fmt.Errorf("%w: container is stopped", process.ErrState)
	case c.restoration != nil:
		return fmt.Errorf("%w: container is %s and to be restored by its start", process.ErrState, state)
	case state == process.Pausing || state == process.Paused:
		return fmt.Errorf("%w: container is %s", process.ErrState, state)
	}
	return nil
}

// Exec adds a process to a container. Nothing runs until Start.
func (s *Service) Exec(_ context.Context, r *task.ExecProcessRequest) (*wkt.Empty, error) {
	c, _, err := s.process(r.Id, "")
	if err != nil {
		return nil, err
	}
	c.mu.Unlock()
	e, err := newExec(r)
	if err != nil {
		return nil, answer(fmt.Errorf("exec %q: %w", r.ExecId, err))
	}
	if err := c.mayCause("exec"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The container's own id names init in exits, so it is taken too.
	if c.execs[r.ExecId] != nil || r.ExecId == c.id {
		return nil, status.Errorf(codes.AlreadyExists, "process %q: already exists", r.ExecId)
	}
	if err := c.execPossible(); err != nil {
		return nil, answer(fmt.Errorf("exec %q: %w", r.ExecId, err))
	}
	c.execs[r.ExecId] = e
	s.answers.dropExec(c.id, r.ExecId)
	c.events.Publish("/tasks/exec-added", &events.TaskExecAdded{ContainerId: c.id, ExecId: r.ExecId})
	return &wkt.Empty{}, nil
}

// newExec checks the request.
func newExec(r *task.ExecProcessRequest) (*exec, error) {
	if err := bundle.ValidID(r.ExecId); err != nil {
		return nil, err
	}
	paths := stdio.Paths{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal}
	if err := paths.Check(); err != nil {
		return nil, err
	}
	if r.Spec == nil {
		return nil, status.Error(codes.InvalidArgument, "no spec")
	}
	spec, err := process.WithTerminal(r.Spec.Value, r.Terminal)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &exec{Process: process.New(r.ExecId, false, paths), spec: spec}, nil
}
