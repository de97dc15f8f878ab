package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/usage"
)

// What is said instead of a container's status when there is none.
const (
	statusNoShim   = "no shim"   // the shim has died, and containerd has not cleaned up yet
	statusNoAnswer = "no answer" // there is a shim, but it is stuck
	statusNoTask   = "no task"   // the shim is there and does not have the container
	statusUnknown  = "unknown"
)

// sight is what is to be seen of a container from outside of its daemon.
type sight struct {
	Namespace string     `json:"namespace"`
	ID        string     `json:"id"`
	Bundle    string     `json:"bundle"`
	Status    string     `json:"status"`
	Pid       int        `json:"pid,omitempty"` // of init
	Shim      *shimSight `json:"shim,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// shimSight is what is to be seen of a shim. The containers of a pod have the same.
type shimSight struct {
	Pid            int     `json:"pid"`
	Program        string  `json:"program"`
	Address        string  `json:"address"`
	AnonymousBytes int64   `json:"anonymous_bytes"`
	RSSBytes       int64   `json:"rss_bytes"`
	Threads        int     `json:"threads"`
	Files          int     `json:"files"`
	CPUSeconds     float64 `json:"cpu_seconds"`
}

// look asks the bundle's shim what there is. It never fails: what is wrong is part
// of what is to be seen. then, if not nil, may ask for more while the shim is
// known to answer. ctx bounds all of it.
func look(ctx context.Context, b *client.Bundle, then func(*client.Shim, *task.StateResponse) error) sight {
	v := sight{Namespace: b.Namespace, ID: b.ID, Bundle: b.Path}
	if err := v.look(ctx, b, then); err != nil {
		v.Error = plain(err)
		if v.Status == "" {
			v.Status = statusFor(err)
		}
	}
	return v
}

func (v *sight) look(ctx context.Context, b *client.Bundle, then func(*client.Shim, *task.StateResponse) error) error {
	s, err := b.Look()
	if err != nil {
		return err
	}
	defer s.Close()
	hold, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer hold.Close()
	if v.Shim, err = lookAtShim(hold.Pid()); err != nil {
		return fmt.Errorf("look at shim %d: %w", hold.Pid(), err)
	}
	v.Shim.Address = s.Endpoint.Address
	r, err := s.Task.State(ctx, &task.StateRequest{Id: b.ID})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	v.Status, v.Pid = statusName(r.Status), int(r.Pid)
	if then == nil {
		return nil
	}
	return then(s, r)
}

func lookAtShim(pid int) (*shimSight, error) {
	u, err := usage.Of(pid)
	if err != nil {
		return nil, err
	}
	program, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil {
		return nil, err
	}
	return &shimSight{
		Pid:            pid,
		Program:        program,
		AnonymousBytes: u.Anonymous,
		RSSBytes:       u.RSS,
		Threads:        u.Threads,
		Files:          u.Files,
		CPUSeconds:     u.Own.Seconds(),
	}, nil
}

// name is the program's without its directory. An upgrade may have taken the file
// away.
func (s *shimSight) name() string {
	return filepath.Base(strings.TrimSuffix(s.Program, " (deleted)"))
}

func statusName(s types.Status) string {
	switch s {
	case types.Status_CREATED:
		return "created"
	case types.Status_RUNNING:
		return "running"
	case types.Status_STOPPED:
		return "stopped"
	case types.Status_PAUSED:
		return "paused"
	case types.Status_PAUSING:
		return "pausing"
	}
	return statusUnknown
}

// statusFor says what an error means for the container.
func statusFor(err error) string {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, ttrpc.ErrClosed):
		return statusNoShim
	case client.Code(err) == codes.NotFound:
		return statusNoTask
	case errors.Is(err, context.DeadlineExceeded), client.Code(err) == codes.DeadlineExceeded, errors.Is(err, unix.EAGAIN):
		return statusNoAnswer
	}
	return statusUnknown
}
