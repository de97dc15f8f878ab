package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// restoration is how the init of a container comes into being by Start that Create
// did not make: from a checkpoint.
type restoration struct {
	launch process.Launch
	opts   runc.RestoreOpts
}

// restoreOpts says how the request's container is to be restored; nil if it is to
// be made anew. A checkpoint in the options is what the daemon takes for one too.
func restoreOpts(r *task.CreateTaskRequest, opts *runcopts.Options) (*runc.RestoreOpts, error) {
	image := cmp.Or(r.Checkpoint, opts.CriuImagePath)
	if image == "" {
		return nil, nil
	}
	for what, path := range map[string]string{"checkpoint": image, "criu work path": opts.CriuWorkPath} {
		if path != "" && !filepath.IsAbs(path) {
			return nil, status.Errorf(codes.InvalidArgument, "container %q: %s %q: not an absolute path", r.Id, what, path)
		}
	}
	made, err := runc.OpenImage(image)
	if err != nil {
		return nil, fmt.Errorf("restore container %q from %q: %w", r.Id, image, err)
	}
	made.WorkPath = opts.CriuWorkPath
	return &runc.RestoreOpts{CheckpointOpts: made, NoPivot: opts.NoPivotRoot}, nil
}

// restore makes init from its checkpoint. A failure leaves the container as Create
// made it: the start may be tried again, or the container deleted.
func (s *Service) restore(ctx context.Context, c *container, from *restoration) error {
	opts := from.opts
	ours := opts.WorkPath == ""
	if ours {
		opts.WorkPath = c.workDir()
	}
	child, err := from.launch.Restore(ctx, opts)
	if err != nil && ours {
		if scrub := runc.ScrubWork(opts.WorkPath); scrub != nil {
			err = fmt.Errorf("%w (and: %w)", err, scrub)
		}
	}
	var (
		group group
		oom   oomWatch
	)
	if err == nil {
		group, oom = s.findGroup(c, child)
		if group != nil {
			// criu may have restored that it was frozen when it was written down.
			if thaw := group.Thaw(); thaw != nil {
				c.log.Warn("the container may be frozen", log.Err(thaw))
			}
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.settle(c.init)
	if err != nil {
		_ = c.init.To(process.Created)
		return err
	}
	c.restoration = nil
	c.group, c.oom = group, oom
	c.init.Made(child)
	if err := c.init.To(process.Running); err != nil {
		return err
	}
	c.events.Publish("/tasks/start", &events.TaskStart{ContainerId: c.id, Pid: uint32(child.Pid())})
	return nil
}

// findGroup finds the cgroup of an init that was just made and begins to watch it.
// Either is nil where it is not known.
func (s *Service) findGroup(c *container, init process.Child) (group, oomWatch) {
	// An init that has ended already has no cgroup to be found by; there is
	// nothing to count or to kill in it then.
	group, err := s.machine.group(init.Pid())
	// If it has ended by now, its number may have been another's when that was looked up.
	if err == nil && errors.Is(init.Signal(0), reaper.ErrGone) {
		group, err = nil, cgroup.ErrGone
	}
	if err != nil {
		c.log.Warn("the container's cgroup is not known", log.Err(err))
	}
	return group, s.watchOOM(c, group)
}
