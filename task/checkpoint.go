package task

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
)

// Checkpoint has the runtime write the container's processes to an image. Once
// begun it is finished, whether or not the client waits. With the option exit the
// container has ended when it answers.
func (s *Service) Checkpoint(ctx context.Context, r *task.CheckpointTaskRequest) (*wkt.Empty, error) {
	c, p, err := s.process(r.Id, "")
	if err != nil {
		return nil, err
	}
	c.mu.Unlock()
	opts, err := c.checkpointOpts(r)
	if err != nil {
		return nil, err
	}
	if err := c.mayCause("checkpoint"); err != nil {
		return nil, err
	}
	leave, err := p.Enter(ctx)
	if err != nil {
		return nil, answer(err)
	}
	defer leave()
	err = c.checkpoint(context.WithoutCancel(ctx), opts)
	if err != nil {
		c.log.Warn("checkpoint failed", log.Err(err))
	}
	return empty(err)
}

// checkpointOpts checks the request.
func (c *container) checkpointOpts(r *task.CheckpointTaskRequest) (*runc.CheckpointOpts, error) {
	asked := new(runcopts.CheckpointOptions)
	if r.Options != nil && (r.Options.TypeUrl != "" || len(r.Options.Value) > 0) {
		if err := proto.Unpack(r.Options, asked); err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "checkpoint of container %q: options: %v", c.id, err)
		}
	}
	o := &runc.CheckpointOpts{
		ImagePath:           cmp.Or(r.Path, asked.ImagePath),
		WorkPath:            cmp.Or(asked.WorkPath, c.criuWork),
		ParentPath:          asked.ParentPath,
		LeaveRunning:        !asked.Exit,
		OpenTCP:             asked.OpenTcp,
		ExternalUnixSockets: asked.ExternalUnixSockets,
		Terminal:            asked.Terminal,
		FileLocks:           asked.FileLocks,
		EmptyNamespaces:     asked.EmptyNamespaces,
		CgroupsMode:         asked.CgroupsMode,
	}
	if o.ImagePath == "" {
		return nil, status.Errorf(codes.InvalidArgument, "checkpoint of container %q: no path for the image", c.id)
	}
	// A relative one would be the bundle's, which goes when the container does.
	for what, path := range map[string]string{"image": o.ImagePath, "work": o.WorkPath} {
		if path != "" && !filepath.IsAbs(path) {
			return nil, status.Errorf(codes.InvalidArgument, "checkpoint of container %q: %s path %q: not an absolute path", c.id, what, path)
		}
	}
	return o, nil
}

func (c *container) checkpoint(ctx context.Context, o *runc.CheckpointOpts) (err error) {
	c.mu.Lock()
	state, group := c.init.State(), c.group
	c.mu.Unlock()
	if state != process.Running && state != process.Paused {
		return fmt.Errorf("checkpoint of container %q: %w: container is %s", c.id, process.ErrState, state)
	}
	undo, err := runc.MakeImage(o)
	if err != nil {
		return err
	}
	ours := o.WorkPath == ""
	if ours {
		o.WorkPath = filepath.Join(c.workDir(), "criu-work")
		defer c.removeWork(o.WorkPath)
	}
	if err := c.runtime.Checkpoint(ctx, *o); err != nil {
		c.keepDumpLog(err, ours)
		if undo := undo(); undo != nil {
			err = fmt.Errorf("%w (and the image could not be removed: %w)", err, undo)
		}
		if state == process.Running && group != nil {
			if thaw := group.Thaw(); thaw != nil {
				err = fmt.Errorf("%w (and the container may be frozen: %w)", err, thaw)
			}
		}
		return fmt.Errorf("OCI runtime checkpoint failed: %w", err)
	}
	if !o.LeaveRunning {
		// criu has killed it, and who asks now is to find it stopped.
		select {
		case <-c.init.Stopped():
		case <-time.After(killLimit):
			c.log.Warn("the container has not ended after its checkpoint")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events.Publish("/tasks/checkpointed", &events.TaskCheckpointed{ContainerId: c.id, Checkpoint: o.ImagePath})
	return nil
}

// workDir is where criu's logs go if nobody says: the container's directory that
// outlives a reboot, or the bundle where it has none.
func (c *container) workDir() string {
	dir := filepath.Join(c.bundle, bundle.WorkLink)
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return dir
	}
	return c.bundle
}

// removeWork removes the directory that criu worked in, unless it left there what
// must not be removed with it.
func (c *container) removeWork(dir string) {
	err := runc.ScrubWork(dir)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		c.log.Warn("criu's directory is left", log.Err(err))
	}
}

// maxDumpLog is how much of criu's log is kept, from its end: bundles lie in
// memory.
const maxDumpLog = 4 << 20

// keepDumpLog copies criu's log of a failed checkpoint to where containerd's shim
// has it too. If the log itself is to be removed, the copy is the one the error
// names from now on.
func (c *container) keepDumpLog(failure error, removed bool) {
	var failed *runc.Error
	if !errors.As(failure, &failed) || failed.Log == "" {
		return
	}
	kept := filepath.Join(c.bundle, bundle.DumpLog)
	if err := copyTail(kept, failed.Log, maxDumpLog); err != nil {
		c.log.Warn("criu's log could not be kept", log.Err(err))
		kept = ""
	}
	if removed {
		failed.Log = kept
	}
}

func copyTail(to, from string, most int64) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if _, err := in.Seek(max(0, st.Size()-most), io.SeekStart); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, io.LimitReader(in, most))
	return err
}
