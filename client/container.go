package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// Container is a container from the daemon's side: its bundle, its shim, and
// its init process.
type Container struct {
	Process // init

	Shim     *Shim
	Bundle   *Bundle
	launcher *Launcher
}

// CreateOptions say what container to create.
type CreateOptions struct {
	ID string
	// Config is the text of config.json, whose root must be the bundle's rootfs.
	Config []byte
	// Rootfs are mounted onto the bundle's rootfs by the shim, in order.
	Rootfs  []*types.Mount
	Streams Streams
	// Options are the runtime's; nil is none.
	Options *runcopts.Options
	// Checkpoint is the directory of the image that Start restores the container
	// from; empty is none.
	Checkpoint string
	// Sandbox, when set, is a running shim that the container goes to without
	// `start` being run (Launcher.Join).
	Sandbox *Shim
	// Connected, when set, is called as soon as there is a shim, before the
	// container is created: so that a caller can take hold of the shim's process
	// and see it end when creating fails.
	Connected func(*Shim)
}

// undoPatience bounds the cleaning up after a failure, when the caller's context
// may have ended already. It is containerd's cleanup timeout.
const undoPatience = 5 * time.Second

// Create makes the bundle and the stdio, starts the shim, and has it create the
// container, the way containerd does. When it fails it has undone all of that.
// The container must be ended by Delete, or by Cleanup if its shim is lost.
func (l *Launcher) Create(ctx context.Context, o CreateOptions) (_ *Container, err error) {
	b, err := l.NewBundle(o.ID, o.Config)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Delete())
		}
	}()
	var s *Shim
	if o.Sandbox != nil {
		s, err = l.Join(ctx, b, o.Sandbox)
	} else {
		s, err = l.Start(ctx, b, o.Options)
	}
	if err != nil {
		return nil, err
	}
	c := &Container{
		Process:  Process{ContainerID: o.ID, shim: s},
		Shim:     s,
		Bundle:   b,
		launcher: l,
	}
	defer func() {
		if err != nil {
			c.undo()
		}
	}()
	if c.IO, err = NewIO(l.Fifos, o.ID, o.Streams); err != nil {
		return nil, err
	}
	if o.Connected != nil {
		o.Connected(s)
	}
	options, err := optionsAny(o.Options)
	if err != nil {
		return nil, err
	}
	if _, err := s.Task.Create(ctx, &task.CreateTaskRequest{
		Id:       o.ID,
		Bundle:   b.Path,
		Rootfs:   o.Rootfs,
		Terminal: o.Streams.Terminal,
		Stdin:    c.IO.Stdin,
		Stdout:   c.IO.Stdout,
		Stderr:   c.IO.Stderr,
		Options:  options,

		Checkpoint: o.Checkpoint,
	}); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	c.followStdin()
	return c, nil
}

// Open takes up a container whose bundle is there, as a restarted daemon does.
// Its IO is nil: the fifos' copying ended with the daemon that had it.
func (l *Launcher) Open(ctx context.Context, id string) (*Container, error) {
	b, err := FindBundle(l.State, l.Namespace, id)
	if err != nil {
		return nil, err
	}
	s, err := l.Load(ctx, b)
	if err != nil {
		return nil, err
	}
	return &Container{
		Process: Process{ContainerID: id, shim: s}, Shim: s, Bundle: b, launcher: l,
	}, nil
}

// undo ends what a failed Create left in the shim; the bundle is the caller's.
func (c *Container) undo() {
	ctx, cancel := context.WithTimeout(context.Background(), undoPatience)
	defer cancel()
	_, err := c.Shim.Task.Delete(ctx, &task.DeleteRequest{Id: c.ContainerID})
	if errors.Is(err, ttrpc.ErrClosed) {
		c.launcher.Delete(ctx, c.Bundle)
	}
	c.Shim.Shutdown(ctx)
	c.Shim.Close()
	if c.IO != nil {
		c.IO.Close()
	}
}

// Checkpoint has the container's processes written to an image in the directory
// path; options may be nil.
func (c *Container) Checkpoint(ctx context.Context, path string, options *runcopts.CheckpointOptions) error {
	r := &task.CheckpointTaskRequest{Id: c.ContainerID, Path: path}
	if options != nil {
		var err error
		if r.Options, err = proto.Pack(options); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	if _, err := c.Shim.Task.Checkpoint(ctx, r); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Exec has the shim prepare another process in the container; Start runs it.
// spec's Terminal is taken from the streams.
func (c *Container) Exec(ctx context.Context, execID string, spec *SpecProcess, streams Streams) (_ *Process, err error) {
	p := &Process{ContainerID: c.ContainerID, ExecID: execID, shim: c.Shim}
	if p.IO, err = NewIO(c.launcher.Fifos, execID, streams); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.IO.Close()
		}
	}()
	with := *spec
	with.Terminal = streams.Terminal
	text, err := json.Marshal(&with)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	if _, err := c.Shim.Task.Exec(ctx, &task.ExecProcessRequest{
		Id:       c.ContainerID,
		ExecId:   execID,
		Terminal: streams.Terminal,
		Stdin:    p.IO.Stdin,
		Stdout:   p.IO.Stdout,
		Stderr:   p.IO.Stderr,
		Spec:     &wkt.Any{TypeUrl: processTypeURL, Value: text},
	}); err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	p.followStdin()
	return p, nil
}

// processTypeURL is what containerd's typeurl calls the JSON of an OCI process.
const processTypeURL = "types.containerd.io/opencontainers/runtime-spec/1/Process"

// ExecProcess takes up an exec that an earlier life of the daemon made; io may be nil.
func (c *Container) ExecProcess(execID string, io *IO) *Process {
	return &Process{ContainerID: c.ContainerID, ExecID: execID, IO: io, shim: c.Shim}
}

// Delete ends the container's story as containerd does: the task is deleted, the
// output copied to its end, the shim asked to shut down (which it does when it
// holds no other container), the connection closed and the bundle removed.
//
// When the task cannot be deleted, everything else stays too. With a shim that
// is gone the error is ttrpc.ErrClosed, and Cleanup is what helps.
func (c *Container) Delete(ctx context.Context) (*task.DeleteResponse, error) {
	r, err := c.Shim.Task.Delete(ctx, &task.DeleteRequest{Id: c.ContainerID})
	if err != nil && Code(err) != codes.NotFound {
		return nil, fmt.Errorf("delete: %w", err)
	}
	// NotFound: an earlier Delete that nobody heard the answer of.
	errs := []error{err, c.closeIO(ctx)}
	errs = append(errs, c.Shim.Shutdown(ctx), c.Shim.Close(), c.Bundle.Delete())
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("delete: %w", err)
	}
	return r, nil
}

// Cleanup ends the story of a container whose shim was lost: the shim's binary
// is run with `delete`, and the bundle removed. It returns what `delete` told.
func (c *Container) Cleanup(ctx context.Context) (*task.DeleteResponse, error) {
	c.Shim.Close()
	r, err := c.launcher.Delete(ctx, c.Bundle)
	errs := []error{err, c.closeIO(ctx), c.Bundle.Delete()}
	return r, errors.Join(errs...)
}

// Code is the gRPC status code that a call's error carries: OK for nil, Unknown
// for an error that carries none.
func Code(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		return carrier.GRPCStatus().Code()
	}
	return codes.Unknown
}
