package task

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
)

// killLimit is how long a process may take to end after SIGKILL.
const killLimit = 30 * time.Second

// State tells what is known of a process.
func (s *Service) State(_ context.Context, r *task.StateRequest) (*task.StateResponse, error) {
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	resp := &task.StateResponse{
		Id:       c.id,
		Bundle:   c.bundle,
		Pid:      uint32(p.Pid()),
		Status:   c.status(p),
		Stdin:    p.Stdio.Stdin,
		Stdout:   p.Stdio.Stdout,
		Stderr:   p.Stdio.Stderr,
		Terminal: p.Stdio.Terminal,
		ExecId:   r.ExecId,
	}
	if !p.Init {
		resp.Id = p.ID // as containerd's shim answers
	}
	if p.State() == process.Stopped {
		resp.ExitStatus = p.Exit().Status
		resp.ExitedAt = wkt.Time(p.Exit().At)
	}
	return resp, nil
}

// status is p's state in containerd's terms. The lock is held.
func (c *container) status(p *process.Process) types.Status {
	switch p.State() {
	case process.Added, process.Created, process.Starting:
		return types.Status_CREATED
	case process.Pausing:
		return types.Status_PAUSING
	case process.Paused:
		return types.Status_PAUSED
	case process.Stopped, process.Deleted:
		return types.Status_STOPPED
	}
	if !p.Init && c.init.State() != process.Running {
		return c.status(c.init) // an exec is frozen together with init
	}
	return types.Status_RUNNING
}

// Wait returns when the process has stopped, or with the request's context.
func (s *Service) Wait(ctx context.Context, r *task.WaitRequest) (*task.WaitResponse, error) {
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	c.mu.Unlock()
	select {
	case <-p.Stopped():
	case <-ctx.Done():
		return nil, answer(ctx.Err())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !p.HasEnded() {
		return nil, notFound("process", p.ID) // an exec that was deleted before it was started
	}
	return &task.WaitResponse{ExitStatus: p.Exit().Status, ExitedAt: wkt.Time(p.Exit().At)}, nil
}

// Kill sends a signal to a process, or with all to every process of the
// container. It runs no program, unless a signal to all is for a container that has
// no cgroup of its own.
func (s *Service) Kill(ctx context.Context, r *task.KillRequest) (*wkt.Empty, error) {
	if r.Signal > 64 {
		return nil, status.Errorf(codes.InvalidArgument, "kill: signal %d: there is none of that number", r.Signal)
	}
	sig := unix.Signal(r.Signal)
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	all := r.All && p.Init
	if all && sig != unix.SIGKILL {
		err = p.Signal(0) // the others come first
	} else {
		err = p.Signal(sig)
	}
	group, paused := c.group, c.init.State() == process.Paused
	c.mu.Unlock()

	finished := errors.Is(err, process.ErrFinished)
	switch {
	case err != nil && !finished:
	case all && finished && c.private:
		// The kernel has ended all the others together with init.
	case all && sig == unix.SIGKILL && group != nil:
		err = group.Kill()
	case all:
		err = c.signalAll(ctx, group, sig)
	case err == nil && p.Init && paused && sig == unix.SIGKILL && group != nil:
		// On cgroup v1 a frozen process does not even die: Kill thaws it.
		err = group.Kill()
	}
	if err != nil {
		return nil, answer(fmt.Errorf("kill %q: %w", p.ID, err))
	}
	return &wkt.Empty{}, nil
}

// signalAll sends a signal to every process of the container, to init last: should
// init end by it, the kernel would kill the others before they had theirs. That is
// not left to the runtime where it need not be: runtimes differ in whether they know
// of nested groups.
func (c *container) signalAll(ctx context.Context, g group, sig unix.Signal) error {
	c.mu.Lock()
	init := c.init.Pid()
	c.mu.Unlock()
	err := cgroup.ErrNotOwn
	if g != nil {
		err = g.Signal(sig, init)
	}
	if errors.Is(err, cgroup.ErrNotOwn) {
		return c.runtime.Kill(context.WithoutCancel(ctx), int(sig), true)
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.init.Signal(sig); !errors.Is(err, process.ErrFinished) {
		return err
	}
	return nil // the others had it
}

// Pids lists every process of the container, those of execs with their id.
// Where the container has no cgroup of its own, those are listed that the shim
// has started. Of one without any the init is named that it had: containerd 1.7
// and newer, when they are started again, take a shim that names nobody for one
// that never had a container, and delete it with the exit that is to be told.
func (s *Service) Pids(_ context.Context, r *task.PidsRequest) (*task.PidsResponse, error) {
	c, init, err := s.process(r.Id, "")
	if err != nil {
		return nil, err
	}
	group := c.group
	execs := make(map[int]string, len(c.execs))
	var known []int
	if init.State() < process.Stopped && init.Pid() != 0 {
		known = append(known, init.Pid())
	}
	for id, e := range c.execs {
		if e.State() == process.Running {
			execs[e.Pid()] = id
			known = append(known, e.Pid())
		}
	}
	was := init.Pid()
	c.mu.Unlock()
	if group != nil && len(known) > 0 {
		switch pids, err := group.Pids(); {
		case err == nil:
			known = pids
		case !errors.Is(err, cgroup.ErrNotOwn):
			return nil, answer(fmt.Errorf("pids of container %q: %w", r.Id, err))
		}
	}
	if len(known) == 0 && was != 0 {
		known = []int{was}
	}
	resp := new(task.PidsResponse)
	for _, pid := range known {
		info := &types.ProcessInfo{Pid: uint32(pid)}
		if id, ok := execs[pid]; ok {
			if info.Info, err = proto.Pack(&runcopts.ProcessDetails{ExecId: id}); err != nil {
				return nil, answer(err)
			}
		}
		resp.Processes = append(resp.Processes, info)
	}
	return resp, nil
}

// CloseIO gives up the shim's end of a process's stdin.
func (s *Service) CloseIO(_ context.Context, r *task.CloseIORequest) (*wkt.Empty, error) {
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	if r.Stdin {
		p.CloseStdin()
	}
	return &wkt.Empty{}, nil
}

// ResizePty sets the size of a process's terminal, also before it has one. A
// process that has ended, or has no terminal, does not mind.
func (s *Service) ResizePty(_ context.Context, r *task.ResizePtyRequest) (*wkt.Empty, error) {
	if r.Width > math.MaxUint16 || r.Height > math.MaxUint16 {
		return nil, status.Errorf(codes.InvalidArgument, "resize: %dx%d is larger than a terminal can be", r.Width, r.Height)
	}
	c, p, err := s.process(r.Id, r.ExecId)
	if err != nil {
		return nil, err
	}
	defer c.mu.Unlock()
	return empty(p.Resize(uint16(r.Width), uint16(r.Height)))
}

// Pause freezes the container.
func (s *Service) Pause(ctx context.Context, r *task.PauseRequest) (*wkt.Empty, error) {
	c, err := s.container(r.Id)
	if err != nil {
		return nil, err
	}
	if err := c.mayCause("pause"); err != nil {
		return nil, err
	}
	return empty(s.freeze(ctx, r.Id, process.Paused))
}

// Resume thaws it.
func (s *Service) Resume(ctx context.Context, r *task.ResumeRequest) (*wkt.Empty, error) {
	return empty(s.freeze(ctx, r.Id, process.Running))
}

// freeze brings a container from Running to Paused or back.
func (s *Service) freeze(ctx context.Context, id string, to process.State) error {
	c, p, err := s.process(id, "")
	if err != nil {
		return err
	}
	c.mu.Unlock()
	leave, err := p.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx = context.WithoutCancel(ctx)

	from := process.Paused
	if to == process.Paused {
		from = process.Running
	}
	c.mu.Lock()
	if p.State() != from {
		err = fmt.Errorf("container %q: %w: container is %s", id, process.ErrState, p.State())
	} else if to == process.Paused {
		err = p.To(process.Pausing)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if to == process.Paused {
		err = c.runtime.Pause(ctx)
	} else {
		err = c.runtime.Resume(ctx)
	}
	err = c.frozenAsWanted(to, err)

	c.mu.Lock()
	defer c.mu.Unlock()
	if p.State() == process.Stopped {
		if err == nil && to == process.Paused {
			err = process.ErrFinished
		}
		return err // a resumed one may end as soon as it can: there is no more to tell
	}
	if err != nil {
		if to == process.Paused {
			_ = p.To(process.Running)
		}
		return err
	}
	if err := p.To(to); err != nil {
		return err
	}
	if to == process.Paused {
		c.events.Publish("/tasks/paused", &events.TaskPaused{ContainerId: id})
	} else {
		c.events.Publish("/tasks/resumed", &events.TaskResumed{ContainerId: id})
	}
	return nil
}

// frozenAsWanted asks the kernel what has come of a pause or a resume, which the
// runtime may have done before it was killed, or not done at all: err is what it
// said. What is half paused is thawed again. Without an answer the runtime is
// believed.
func (c *container) frozenAsWanted(to process.State, err error) error {
	c.mu.Lock()
	group := c.group
	c.mu.Unlock()
	if group == nil {
		return err
	}
	want := to == process.Paused
	done, unknown := group.BecomesFrozen(want)
	switch {
	case unknown != nil:
		return err
	case done:
		return nil
	case err == nil:
		verb := "resume"
		if want {
			verb = "pause"
		}
		err = fmt.Errorf("%s container %q: %w: the kernel says that it is not %s", verb, c.id, runc.ErrNotDone, to)
	}
	if to == process.Paused {
		if thaw := group.Thaw(); thaw != nil {
			c.log.Error("a container that could not be paused may be frozen", log.Err(thaw))
		}
	}
	return err
}

// Update changes the container's limits.
func (s *Service) Update(ctx context.Context, r *task.UpdateTaskRequest) (*wkt.Empty, error) {
	c, p, err := s.process(r.Id, "")
	if err != nil {
		return nil, err
	}
	c.mu.Unlock()
	if r.Resources == nil {
		return nil, status.Errorf(codes.InvalidArgument, "update container %q: no resources", r.Id)
	}
	leave, err := p.Enter(ctx)
	if err != nil {
		return nil, answer(err)
	}
	defer leave()
	return empty(c.runtime.Update(context.WithoutCancel(ctx), r.Resources.Value))
}

// Stats tells what the container uses.
func (s *Service) Stats(_ context.Context, r *task.StatsRequest) (*task.StatsResponse, error) {
	c, _, err := s.process(r.Id, "")
	if err != nil {
		return nil, err
	}
	group := c.group
	c.mu.Unlock()
	if group == nil {
		return nil, status.Errorf(codes.NotFound, "stats of container %q: its cgroup was not found", r.Id)
	}
	stats, err := group.Stats()
	if err != nil {
		return nil, answer(fmt.Errorf("stats of container %q: %w", r.Id, err))
	}
	packed, err := proto.Pack(stats)
	if err != nil {
		return nil, answer(err)
	}
	return &task.StatsResponse{Stats: packed}, nil
}

// empty is the answer of a method that has nothing to say.
func empty(err error) (*wkt.Empty, error) {
	if err != nil {
		return nil, answer(err)
	}
	return &wkt.Empty{}, nil
}
