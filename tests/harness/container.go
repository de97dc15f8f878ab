package harness

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// Container is a container of a test, with its output. Its methods end the test
// when they fail, so they are for the test's own goroutine; those of the
// embedded container return their errors.
type Container struct {
	*client.Container
	Out, Err *Output

	d *Daemon
}

// Want says what container a test wants; only Args is needed.
type Want struct {
	ID   string // c1, c2, … by default
	Args []string
	// Stdin, Stdout and Stderr as in client.Streams, but Stdout and Stderr go to
	// the Container's Out and Err unless NoOutput says that there are none.
	Streams  client.Streams
	NoOutput bool
	// Edit changes the default spec.
	Edit func(*client.Spec)
	// Rootfs replaces the default: an overlay of the shared busybox with a layer
	// of the container's own.
	Rootfs []*types.Mount
	// Options are the runtime's. Where they name none it is HOLDFAST_RUNTIME's,
	// and without that the shim's default.
	Options *runcopts.Options
	// Checkpoint is the image that Start restores the container from.
	Checkpoint string
	// Sandbox is the container whose shim this one shares: by annotation, and,
	// with Join, by going to that shim directly as new daemons do.
	Sandbox *Container
	Join    bool
}

// Create creates a container that will run args.
func (d *Daemon) Create(args ...string) *Container {
	d.t.Helper()
	return d.CreateWant(Want{Args: args})
}

// CreateWant creates a container.
func (d *Daemon) CreateWant(w Want) *Container {
	d.t.Helper()
	c, err := d.TryCreate(w)
	if err != nil {
		d.t.Fatal(err)
	}
	return c
}

// TryCreate creates a container, and returns the error of a failure. It may be
// called from any goroutine.
func (d *Daemon) TryCreate(w Want) (*Container, error) {
	if w.ID == "" {
		w.ID = d.nextID()
	}
	d.ExpectSocket(w.ID)
	o, err := d.options(&w)
	if err != nil {
		return nil, err
	}
	c := &Container{Out: &Output{}, Err: &Output{}, d: d}
	o.Streams = w.Streams
	if !w.NoOutput {
		if o.Streams.Stdout == nil {
			o.Streams.Stdout = c.Out
		}
		if o.Streams.Stderr == nil {
			o.Streams.Stderr = c.Err
		}
	}
	if c.Container, err = d.Launcher.Create(d.Ctx(), o); err != nil {
		return nil, err
	}
	d.add(c)
	return c, nil
}

// options makes the rootfs and the configuration that w wants.
func (d *Daemon) options(w *Want) (client.CreateOptions, error) {
	o := client.CreateOptions{ID: w.ID, Rootfs: w.Rootfs, Options: w.Options, Checkpoint: w.Checkpoint}
	if name := os.Getenv("HOLDFAST_RUNTIME"); name != "" {
		options := runcopts.Options{BinaryName: name}
		if w.Options != nil {
			options = *w.Options
			options.BinaryName = cmp.Or(options.BinaryName, name)
		}
		o.Options = &options
	}
	spec := client.DefaultSpec(d.Namespace, w.ID, w.Args...)
	spec.Process.Terminal = w.Streams.Terminal
	if w.Sandbox != nil {
		spec.Annotate(client.SandboxAnnotation, w.Sandbox.ContainerID)
		if w.Join {
			o.Sandbox = w.Sandbox.Shim
		}
	}
	if w.Edit != nil {
		w.Edit(spec)
	}
	var err error
	if o.Config, err = spec.JSON(); err != nil {
		return o, err
	}
	if o.Rootfs == nil {
		m, err := d.Overlay(w.ID)
		if err != nil {
			return o, err
		}
		o.Rootfs = []*types.Mount{m}
	}
	return o, nil
}

// Overlay makes the layers of an overlay of the shared busybox, writable in a
// directory of the daemon's that goes by id.
func (d *Daemon) Overlay(id string) (*types.Mount, error) {
	upper := filepath.Join(d.Dir, "layers", id, "upper")
	work := filepath.Join(d.Dir, "layers", id, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return &types.Mount{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + run.rootfs, "upperdir=" + upper, "workdir=" + work,
	}}, nil
}

// Run creates and starts a container.
func (d *Daemon) Run(args ...string) *Container {
	d.t.Helper()
	c := d.Create(args...)
	c.Start()
	return c
}

// ended tells whether the container's story is over: its bundle is gone.
func (c *Container) ended() bool {
	_, err := os.Lstat(c.Bundle.Path)
	return errors.Is(err, os.ErrNotExist)
}

// Start runs init and returns its pid.
func (c *Container) Start() int {
	c.d.t.Helper()
	pid, err := c.Container.Start(c.d.Ctx())
	if err != nil {
		c.d.t.Fatal(err)
	}
	return pid
}

// Wait waits for init's end and returns its status.
func (c *Container) Wait() uint32 {
	c.d.t.Helper()
	status, _, err := c.Container.Wait(c.d.Ctx())
	if err != nil {
		c.d.t.Fatal(err)
	}
	return status
}

// Kill sends init a signal.
func (c *Container) Kill(sig syscall.Signal) {
	c.d.t.Helper()
	if err := c.Container.Kill(c.d.Ctx(), sig); err != nil {
		c.d.t.Fatal(err)
	}
}

// Delete ends the container's story and returns its status.
func (c *Container) Delete() uint32 {
	c.d.t.Helper()
	r, err := c.Container.Delete(c.d.Ctx())
	if err != nil {
		c.d.t.Fatal(err)
	}
	return r.ExitStatus
}

// Finish kills init and deletes the container, whatever its status.
func (c *Container) Finish() {
	c.d.t.Helper()
	if err := c.Container.Kill(c.d.Ctx(), syscall.SIGKILL); err != nil && !isNotFound(err) {
		c.d.t.Fatal(err)
	}
	c.Wait()
	c.Delete()
}

// Cleanup ends the story of a container whose shim is gone and returns what
// `delete` told.
func (c *Container) Cleanup() *task.DeleteResponse {
	c.d.t.Helper()
	r, err := c.Container.Cleanup(c.d.Ctx())
	if err != nil {
		c.d.t.Fatal(err)
	}
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	c.d.cleaned[c.ContainerID] = true
	return r
}

// HoldShim takes hold of the shim's process until the test ends.
func (c *Container) HoldShim() *client.Hold {
	c.d.t.Helper()
	h, err := c.Shim.Hold(c.d.Ctx())
	if err != nil {
		c.d.t.Fatal(err)
	}
	c.d.t.Cleanup(func() { h.Close() })
	return h
}

// KillShim kills the shim's process and waits until it is gone and the
// connection has noticed.
func (c *Container) KillShim() {
	c.d.t.Helper()
	h := c.HoldShim()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		c.d.t.Fatal(err)
	}
	if err := h.Wait(c.d.Ctx()); err != nil {
		c.d.t.Fatal(err)
	}
	select {
	case <-c.Shim.Closed():
	case <-c.d.Ctx().Done():
		c.d.t.Fatal("the connection to a killed shim did not close")
	}
}

// Exec is another process in a test's container, with its output.
type Exec struct {
	*client.Process
	Out, Err *Output

	d *Daemon
}

// Exec prepares another process in the container.
func (c *Container) Exec(execID string, args ...string) *Exec {
	c.d.t.Helper()
	return c.ExecStreams(execID, client.Streams{}, args...)
}

// ExecStreams is Exec with streams; output goes to Out and Err unless they say
// otherwise.
func (c *Container) ExecStreams(execID string, s client.Streams, args ...string) *Exec {
	c.d.t.Helper()
	e, err := c.TryExec(execID, s, args...)
	if err != nil {
		c.d.t.Fatal(err)
	}
	return e
}

// TryExec is ExecStreams for any goroutine.
func (c *Container) TryExec(execID string, s client.Streams, args ...string) (*Exec, error) {
	e := &Exec{Out: &Output{}, Err: &Output{}, d: c.d}
	if s.Stdout == nil {
		s.Stdout = e.Out
	}
	if s.Stderr == nil {
		s.Stderr = e.Err
	}
	var err error
	e.Process, err = c.Container.Exec(c.d.Ctx(), execID, client.DefaultProcess(args...), s)
	if err != nil {
		return nil, err
	}
	return e, nil
}

// ExecOutput runs an exec to its end and returns its status and what it printed.
func (c *Container) ExecOutput(execID string, args ...string) (uint32, string) {
	c.d.t.Helper()
	e := c.Exec(execID, args...)
	e.Start()
	status := e.Wait()
	e.Delete()
	return status, e.Out.String() + e.Err.String()
}

// Again takes the exec up after the daemon was away: its shim is the same, the
// connection is another.
func (e *Exec) Again(c *Container) { e.Process = c.Container.ExecProcess(e.ExecID, e.IO) }

// Start runs the process and returns its pid.
func (e *Exec) Start() int {
	e.d.t.Helper()
	pid, err := e.Process.Start(e.d.Ctx())
	if err != nil {
		e.d.t.Fatal(err)
	}
	return pid
}

// Wait waits for the process's end and returns its status.
func (e *Exec) Wait() uint32 {
	e.d.t.Helper()
	status, _, err := e.Process.Wait(e.d.Ctx())
	if err != nil {
		e.d.t.Fatal(err)
	}
	return status
}

// Delete has the shim forget the process and returns its status.
func (e *Exec) Delete() uint32 {
	e.d.t.Helper()
	r, err := e.Process.Delete(e.d.Ctx())
	if err != nil {
		e.d.t.Fatal(fmt.Errorf("exec %s: %w", e.ExecID, err))
	}
	return r.ExitStatus
}
