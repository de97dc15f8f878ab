package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/pidfd"
)

// Hold is a process that is not our child, held by a pidfd: its pid cannot come
// to mean another process while we act on it.
type Hold struct {
	pid, fd int
}

// HoldPid takes hold of a running process. It must be closed.
func HoldPid(pid int) (*Hold, error) {
	fd, err := pidfd.Open(pid)
	if err != nil {
		return nil, fmt.Errorf("hold process %d: %w", pid, err)
	}
	return &Hold{pid, fd}, nil
}

// Hold takes hold of the shim's process. That it is the shim's is sure: the shim
// answers once more after its pid was taken hold of.
func (s *Shim) Hold(ctx context.Context) (*Hold, error) {
	pid, err := s.Pid(ctx)
	if err != nil {
		return nil, fmt.Errorf("hold shim: %w", err)
	}
	h, err := HoldPid(pid)
	if err != nil {
		return nil, fmt.Errorf("hold shim: %w", err)
	}
	again, err := s.Pid(ctx)
	if err == nil && again != pid {
		err = fmt.Errorf("pid was %d and is %d", pid, again)
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("hold shim: %w", err)
	}
	return h, nil
}

// Pid is the process's id, also after its end.
func (h *Hold) Pid() int { return h.pid }

// Signal sends the process a signal. One that has ended is no error.
func (h *Hold) Signal(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", h.pid, err)
	}
	return nil
}

// Wait returns when the process has ended; whether it was reaped is its
// parent's affair.
func (h *Hold) Wait(ctx context.Context) error {
	// The poll is cut into slices to notice the end of ctx.
	const slice = 50 * time.Millisecond
	for {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(slice.Milliseconds()))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", h.pid, err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("wait for process %d: %w", h.pid, context.Cause(ctx))
		}
	}
}

// Close lets go of the process, which goes on.
func (h *Hold) Close() error { return unix.Close(h.fd) }
