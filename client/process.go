package client

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// Process is one process of a container: its init, or an exec.
type Process struct {
	ContainerID string
	ExecID      string // empty for init
	IO          *IO    // nil after a restart of the daemon

	shim *Shim
}

// Start runs the process and returns its pid in the host's pid namespace.
func (p *Process) Start(ctx context.Context) (int, error) {
	r, err := p.shim.Task.Start(ctx, &task.StartRequest{Id: p.ContainerID, ExecId: p.ExecID})
	if err != nil {
		return 0, fmt.Errorf("start: %w", err)
	}
	return int(r.Pid), nil
}

// Wait returns when the process has ended: with its exit code, or 128 and the
// signal's number, and with when it ended.
func (p *Process) Wait(ctx context.Context) (status uint32, at time.Time, err error) {
	r, err := p.shim.Task.Wait(ctx, &task.WaitRequest{Id: p.ContainerID, ExecId: p.ExecID})
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("wait: %w", err)
	}
	return r.ExitStatus, r.ExitedAt.AsTime(), nil
}

// Kill sends the process a signal.
func (p *Process) Kill(ctx context.Context, sig syscall.Signal) error {
	return p.kill(ctx, sig, false)
}

// KillAll sends every process of the container a signal.
func (p *Process) KillAll(ctx context.Context, sig syscall.Signal) error {
	return p.kill(ctx, sig, true)
}

func (p *Process) kill(ctx context.Context, sig syscall.Signal, all bool) error {
	_, err := p.shim.Task.Kill(ctx, &task.KillRequest{
		Id: p.ContainerID, ExecId: p.ExecID, Signal: uint32(sig), All: all,
	})
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	return nil
}

// State asks the shim about the process.
func (p *Process) State(ctx context.Context) (*task.StateResponse, error) {
	r, err := p.shim.Task.State(ctx, &task.StateRequest{Id: p.ContainerID, ExecId: p.ExecID})
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return r, nil
}

// Resize gives the process's terminal a size in characters.
func (p *Process) Resize(ctx context.Context, width, height uint32) error {
	_, err := p.shim.Task.ResizePty(ctx, &task.ResizePtyRequest{
		Id: p.ContainerID, ExecId: p.ExecID, Width: width, Height: height,
	})
	if err != nil {
		return fmt.Errorf("resize: %w", err)
	}
	return nil
}

// CloseStdin ends the process's standard input: our end of the fifo, and, by
// CloseIO, the shim's. What was written before still reaches the process.
func (p *Process) CloseStdin(ctx context.Context) error {
	var errs []error
	if p.IO != nil {
		errs = append(errs, p.IO.CloseStdin())
	}
	_, err := p.shim.Task.CloseIO(ctx, &task.CloseIORequest{
		Id: p.ContainerID, ExecId: p.ExecID, Stdin: true,
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return fmt.Errorf("close stdin: %w", err)
	}
	return nil
}

// closeIOPatience bounds the CloseIO that follows the end of the caller's
// input: no caller is there to give up on it.
const closeIOPatience = 30 * time.Second

// followStdin tells the shim when the caller's input has ended.
func (p *Process) followStdin() {
	if p.IO == nil || p.IO.Stdin == "" {
		return
	}
	go func() {
		select {
		case <-p.IO.inEnded:
		case <-p.IO.detached:
			return
		case <-p.shim.closed:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeIOPatience)
		defer cancel()
		// The process may have ended meanwhile, which is the usual reason for a
		// refusal; there is nobody to tell the others to.
		p.CloseStdin(ctx)
	}()
}

// Delete makes the shim forget a process that has ended or was never started,
// waits until its output has been copied, and removes the fifos. Use
// Container.Delete for init.
func (p *Process) Delete(ctx context.Context) (*task.DeleteResponse, error) {
	r, err := p.shim.Task.Delete(ctx, &task.DeleteRequest{Id: p.ContainerID, ExecId: p.ExecID})
	if err != nil {
		return nil, fmt.Errorf("delete: %w", err)
	}
	return r, p.closeIO(ctx)
}

// closeIO is for when the shim has let go of the process.
func (p *Process) closeIO(ctx context.Context) error {
	if p.IO == nil {
		return nil
	}
	p.IO.GiveUp()
	err := p.IO.Wait(ctx)
	return errors.Join(err, p.IO.Close())
}
