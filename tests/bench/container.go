package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// container is a container whose every step is a call of its own, to be timed.
// client.Container takes several at once, as a daemon does.
type container struct {
	d      *daemon
	id     string
	rootfs *types.Mount
	bundle *client.Bundle
	shim   *client.Shim
	hold   *client.Hold // the shim's process
	io     *client.IO
}

// launch makes a bundle and starts a shim in it; took is the time of `start`
// until there was a connection.
func (d *daemon) launch(ctx context.Context, args ...string) (_ *container, took time.Duration, err error) {
	c := &container{d: d, id: d.nextID()}
	config, err := client.DefaultSpec(d.Namespace, c.id, args...).JSON()
	if err != nil {
		return nil, 0, err
	}
	if c.rootfs, err = d.overlay(c.id); err != nil {
		return nil, 0, err
	}
	if c.bundle, err = d.NewBundle(c.id, config); err != nil {
		return nil, 0, err
	}
	d.begins(c)
	began := time.Now()
	if c.shim, err = d.Start(ctx, c.bundle, nil); err != nil {
		return nil, 0, err
	}
	took = time.Since(began)
	c.hold, err = c.shim.Hold(ctx)
	return c, took, err
}

// create opens the stdio and creates the container; took is the call's time.
// Streams that out does not want are there all the same, as a pod's are.
func (c *container) create(ctx context.Context, out io.Writer) (took time.Duration, err error) {
	if c.io, err = client.NewIO(c.d.Fifos, c.id, client.Streams{Stdout: out, Stderr: io.Discard}); err != nil {
		return 0, err
	}
	var options *wkt.Any
	if c.d.runtime != "" {
		if options, err = proto.Pack(&runcopts.Options{BinaryName: c.d.runtime}); err != nil {
			return 0, err
		}
	}
	return timed(func() error {
		_, err := c.shim.Task.Create(ctx, &task.CreateTaskRequest{
			Id: c.id, Bundle: c.bundle.Path, Rootfs: []*types.Mount{c.rootfs},
			Stdout: c.io.Stdout, Stderr: c.io.Stderr, Options: options,
		})
		return err
	})
}

func (c *container) start(ctx context.Context) (took time.Duration, err error) {
	return timed(func() error {
		_, err := c.shim.Task.Start(ctx, &task.StartRequest{Id: c.id})
		return err
	})
}

// run launches, creates and starts.
func (d *daemon) run(ctx context.Context, out io.Writer, args ...string) (*container, error) {
	c, _, err := d.launch(ctx, args...)
	if err != nil {
		return nil, err
	}
	if _, err := c.create(ctx, out); err != nil {
		return nil, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// kill sends SIGKILL; call is the call's time, event the time until the exit
// event was there.
func (c *container) kill(ctx context.Context) (call, event time.Duration, err error) {
	began := time.Now()
	if err := c.signal(ctx, unix.SIGKILL); err != nil {
		return 0, 0, err
	}
	call = time.Since(began)
	e, err := c.d.exited(ctx, c.id, "")
	return call, e.Arrived.Sub(began), err
}

func (c *container) signal(ctx context.Context, sig unix.Signal) error {
	_, err := c.shim.Task.Kill(ctx, &task.KillRequest{Id: c.id, Signal: uint32(sig)})
	return err
}

// delete has the shim delete the container, which has ended.
func (c *container) delete(ctx context.Context) (took time.Duration, err error) {
	return timed(func() error {
		_, err := c.shim.Task.Delete(ctx, &task.DeleteRequest{Id: c.id})
		return err
	})
}

// shutdown asks the shim to end; took is the time until its process was gone.
func (c *container) shutdown(ctx context.Context) (took time.Duration, err error) {
	return timed(func() error {
		if err := c.shim.Shutdown(ctx); err != nil {
			return err
		}
		return c.hold.Wait(ctx)
	})
}

// finish clears away what the daemon has, after shutdown.
func (c *container) finish(ctx context.Context) error {
	c.io.GiveUp()
	err := errors.Join(c.io.Wait(ctx), c.io.Close(), c.shim.Close(), c.hold.Close(), c.bundle.Delete())
	c.d.ends(c)
	return err
}

// end takes a running container to its end.
func (c *container) end(ctx context.Context) error {
	if _, _, err := c.kill(ctx); err != nil && client.Code(err) != codes.NotFound {
		return err
	}
	if _, err := c.delete(ctx); err != nil {
		return err
	}
	if _, err := c.shutdown(ctx); err != nil {
		return err
	}
	return c.finish(ctx)
}

// abandon ends by force, from wherever it stands, what went wrong.
func (c *container) abandon() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var errs []error
	if c.hold != nil {
		errs = append(errs, c.hold.Signal(unix.SIGKILL), c.hold.Wait(ctx), c.hold.Close())
	}
	if c.shim != nil {
		if err := c.shim.Close(); !errors.Is(err, ttrpc.ErrClosed) {
			errs = append(errs, err)
		}
		err := os.Remove(strings.TrimPrefix(c.shim.Endpoint.Address, "unix://"))
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_, err := c.d.Delete(ctx, c.bundle)
	errs = append(errs, err)
	if c.io != nil {
		errs = append(errs, c.io.Close())
	}
	errs = append(errs, c.bundle.Delete())
	c.d.ends(c)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clear away %s of %s: %w", c.id, c.d.shim.Name, err)
	}
	return nil
}

// exec runs a process in the container; took is the time from Exec to the
// answer of Delete, with the exit event in between.
func (c *container) exec(ctx context.Context, execID string, spec []byte) (took time.Duration, err error) {
	stdio, err := client.NewIO(c.d.Fifos, execID, client.Streams{Stdout: io.Discard, Stderr: io.Discard})
	if err != nil {
		return 0, err
	}
	defer stdio.Close()
	took, err = timed(func() error {
		if _, err := c.shim.Task.Exec(ctx, &task.ExecProcessRequest{
			Id: c.id, ExecId: execID, Stdout: stdio.Stdout, Stderr: stdio.Stderr,
			Spec: &wkt.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", Value: spec},
		}); err != nil {
			return err
		}
		if _, err := c.shim.Task.Start(ctx, &task.StartRequest{Id: c.id, ExecId: execID}); err != nil {
			return err
		}
		if _, err := c.d.exited(ctx, c.id, execID); err != nil {
			return err
		}
		_, err := c.shim.Task.Delete(ctx, &task.DeleteRequest{Id: c.id, ExecId: execID})
		return err
	})
	return took, err
}

// execSpec is the text of an exec of args.
func execSpec(args ...string) ([]byte, error) { return json.Marshal(client.DefaultProcess(args...)) }

func timed(f func() error) (time.Duration, error) {
	began := time.Now()
	err := f()
	return time.Since(began), err
}
