package task

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/mount"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// Create makes a container: mounts its rootfs, opens its stdio and has the
// runtime create it. A request whose client goes away meanwhile is undone, as
// is one that fails.
func (s *Service) Create(ctx context.Context, r *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	c, opts, err := s.newContainer(r)
	if err != nil {
		return nil, answer(err)
	}
	if err := c.mayCause("create"); err != nil {
		return nil, err
	}
	ctx, c.giveUp = context.WithCancel(ctx)
	defer c.giveUp()
	leave, err := c.init.Enter(ctx) // nobody else knows the container: it does not wait
	if err != nil {
		return nil, answer(err)
	}
	defer leave()
	if err := s.reserve(c); err != nil {
		return nil, err
	}
	if err := s.create(ctx, c, r, opts); err != nil {
		s.undone(c)
		c.log.Warn("create failed", log.Err(err))
		return nil, answer(err)
	}
	return &task.CreateTaskResponse{Pid: uint32(c.init.Pid())}, nil
}

// newContainer checks the request.
func (s *Service) newContainer(r *task.CreateTaskRequest) (*container, *runcopts.Options, error) {
	if err := bundle.ValidID(r.Id); err != nil {
		return nil, nil, fmt.Errorf("container %q: %w", r.Id, err)
	}
	if !filepath.IsAbs(r.Bundle) {
		return nil, nil, status.Errorf(codes.InvalidArgument, "container %q: bundle %q: not an absolute path", r.Id, r.Bundle)
	}
	opts, err := runc.Options(r.Options)
	if err != nil {
		return nil, nil, status.Errorf(codes.InvalidArgument, "container %q: options: %v", r.Id, err)
	}
	for _, name := range []struct{ what, value string }{
		{"bundle", r.Bundle}, {"options: root", opts.Root}, {"options: binary name", opts.BinaryName},
	} {
		if len(name.value) >= unix.PathMax || strings.IndexByte(name.value, 0) >= 0 {
			return nil, nil, status.Errorf(codes.InvalidArgument, "container %q: %s %q: not possible as a path", r.Id, name.what, name.value)
		}
	}
	paths := stdio.Paths{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal}
	if err := paths.Check(); err != nil {
		return nil, nil, err
	}
	return &container{
		id:       r.Id,
		bundle:   r.Bundle,
		runtime:  s.machine.runtime(r.Id, r.Bundle, opts),
		criuWork: opts.CriuWorkPath,
		events:   s.Events,
		log:      s.Log.With(log.String("container", r.Id)),
		over:     s.lookQuiet,
		owner:    stdio.Owner{UID: int(opts.IoUid), GID: int(opts.IoGid)},
		init:     process.New(r.Id, true, paths),
		execs:    make(map[string]*exec),
		streams:  make(map[*stdio.Streams]struct{}),
	}, opts, nil
}

// create does the work. It leaves nothing behind when it fails.
func (s *Service) create(ctx context.Context, c *container, r *task.CreateTaskRequest, opts *runcopts.Options) (err error) {
	restore, err := restoreOpts(r, opts)
	if err != nil {
		return err
	}
	config, err := bundle.ReadConfig(c.bundle)
	if err != nil {
		return err
	}
	if c.private, err = bundle.OwnPidNamespace(config); err != nil {
		return err
	}
	cgroupsPath, err := bundle.CgroupsPath(config)
	if err != nil {
		return err
	}
	// What `delete` needs if this process dies from here on.
	if err := bundle.WriteOptions(c.bundle, opts); err != nil {
		return err
	}
	if err := bundle.WriteRuntime(c.bundle, opts.BinaryName); err != nil {
		return err
	}
	rootfs := filepath.Join(c.bundle, bundle.Rootfs)
	if err := mount.All(mounts(r.Rootfs), rootfs); err != nil {
		return fmt.Errorf("mount the rootfs of container %q: %w", c.id, err)
	}
	defer func() {
		if err != nil && len(r.Rootfs) > 0 {
			if undo := mount.UnmountAll(rootfs); undo != nil {
				c.log.Error("rootfs left mounted", log.Err(undo))
			}
		}
	}()
	streams, err := s.openStdio(ctx, c, c.init)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			streams.Close()
		}
	}()
	launch := process.Launch{
		Runtime:  c.runtime,
		Bundle:   c.bundle,
		Children: s.machine.children(),
		Streams:  streams,
		Clear: func(ctx context.Context) error {
			return errors.Join(s.machine.clearGroup(ctx, c.id, c.bundle, cgroupsPath), c.runtime.Scrub())
		},
		OnExit: func(e reaper.Exit) { c.exited(c.init, e) },
	}
	var (
		child process.Child // stays nil if it is for Start to make it
		group group
		oom   oomWatch
	)
	created := &events.TaskCreate{
		ContainerId: c.id,
		Bundle:      c.bundle,
		Rootfs:      r.Rootfs,
		Io:          &events.TaskIO{Stdin: r.Stdin, Stdout: r.Stdout, Stderr: r.Stderr, Terminal: r.Terminal},
	}
	if restore == nil {
		if child, err = launch.Init(ctx, opts.NoPivotRoot, opts.NoNewKeyring); err != nil {
			return err
		}
		created.Pid = uint32(child.Pid())
		group, oom = s.findGroup(c, child)
		defer func() {
			if err != nil && oom != nil {
				oom.Close()
			}
		}()
	} else {
		created.Checkpoint = restore.ImagePath
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if restore == nil {
		c.group, c.oom = group, oom
		c.init.Made(child)
	} else {
		c.restoration = &restoration{launch: launch, opts: *restore}
	}
	if err := c.opened(c.init, streams); err != nil {
		c.log.Warn("stdio", log.Err(err))
	}
	if err := c.init.To(process.Created); err != nil {
		return err
	}
	c.events.Publish("/tasks/create", created)
	c.settle(c.init)
	return nil
}

func mounts(from []*types.Mount) []mount.Mount {
	to := make([]mount.Mount, len(from))
	for i, m := range from {
		to[i] = mount.Mount{Type: m.Type, Source: m.Source, Target: m.Target, Options: m.Options}
	}
	return to
}
