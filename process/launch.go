package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// Launch is one attempt to bring a process into being. It holds everything
// that has to be undone if the attempt fails, and touches no [Process].
type Launch struct {
	Runtime  Runtime
	Bundle   string // absolute
	Children Children
	Streams  *stdio.Streams // of the process; they stay open when the launch fails

	// Clear removes what a create or a restore has left that the runtime does not
	// know of, for Init and Restore. The client may have removed the bundle already.
	Clear func(context.Context) error

	OnExit func(reaper.Exit) // see reaper.Start
}

// sockets numbers the console sockets of this shim: an id may be longer than
// what a socket's path has room for.
var sockets atomic.Uint64

// Init has the runtime create the container and adopts its init, which then
// waits for the runtime's start. On failure nothing of the container is left,
// unless the runtime said that there is one of that id already.
func (l *Launch) Init(ctx context.Context, noPivot, noNewKeyring bool) (Child, error) {
	pidFile := filepath.Join(l.Bundle, bundle.InitPidFile)
	child, err := l.run(pidFile, func(io runc.IO) error {
		return l.Runtime.Create(ctx, runc.CreateOpts{IO: io, PidFile: pidFile, NoPivot: noPivot, NoNewKeyring: noNewKeyring})
	})
	if err != nil {
		return nil, l.failed(ctx, "create", err)
	}
	return child, nil
}

// Restore has the runtime make the container from a checkpoint, of which o says
// what is not the launch's own, and adopts its init, which runs. On failure nothing
// of the container is left, as with Init, and the launch may be tried again.
func (l *Launch) Restore(ctx context.Context, o runc.RestoreOpts) (Child, error) {
	o.PidFile = filepath.Join(l.Bundle, bundle.InitPidFile)
	child, err := l.run(o.PidFile, func(io runc.IO) error {
		o.IO = io
		return l.Runtime.Restore(ctx, o)
	})
	if err != nil {
		return nil, l.failed(ctx, "restore", err)
	}
	return child, nil
}

// failed undoes what was to make a container, and says so in containerd's words,
// which scripts look for.
func (l *Launch) failed(ctx context.Context, verb string, err error) error {
	err = fmt.Errorf("OCI runtime %s failed: %w", verb, err)
	if errors.Is(err, runc.ErrExists) || errors.Is(err, runc.ErrNoRuntime) {
		return err // what is there is another's, or nothing
	}
	if undo := l.undo(context.WithoutCancel(ctx)); undo != nil {
		return fmt.Errorf("%w (and not all of the container could be removed: %w)", err, undo)
	}
	return err
}

// undo removes what a create or a restore has left that failed or was killed. A runtime that
// was killed before it wrote down its state knows nothing of the cgroup and the
// directory that it had made, so those are looked for as well.
func (l *Launch) undo(ctx context.Context) error {
	err := l.Runtime.Delete(ctx, true)
	if err != nil && !errors.Is(err, runc.ErrNotFound) {
		// A client that gave up may be removing the bundle at this moment, and
		// with it the log that the runtime was to open. When it is gone, the
		// runtime is called without.
		err = l.Runtime.Delete(ctx, true)
	}
	if errors.Is(err, runc.ErrNotFound) {
		err = nil
	}
	return errors.Join(err, l.Clear(ctx))
}

// Exec has the runtime start the process of spec, an OCI Process in JSON, in
// the container and adopts it.
func (l *Launch) Exec(ctx context.Context, id string, spec []byte) (Child, error) {
	if width, height := l.Streams.Size(); l.Streams.Terminal() && width > 0 && height > 0 {
		var err error
		if spec, err = withSize(spec, width, height); err != nil {
			return nil, err
		}
	}
	pidFile := filepath.Join(l.Bundle, bundle.ExecPidFile(id))
	specFile := pidFile + ".spec"
	if err := os.WriteFile(specFile, spec, 0o600); err != nil {
		return nil, fmt.Errorf("write the spec of exec %s: %w", id, err)
	}
	defer os.Remove(specFile)
	defer os.Remove(pidFile)
	child, err := l.run(pidFile, func(io runc.IO) error {
		return l.Runtime.Exec(ctx, runc.ExecOpts{IO: io, ProcessFile: specFile, PidFile: pidFile})
	})
	if err != nil {
		return nil, fmt.Errorf("OCI runtime exec failed: %w", err)
	}
	return child, nil
}

// run calls the runtime with the process's stdio and adopts what it leaves.
func (l *Launch) run(pidFile string, call func(runc.IO) error) (Child, error) {
	var (
		io  runc.IO
		err error
	)
	if l.Streams.Terminal() {
		io.ConsoleSocket, err = l.Streams.Listen(l.Bundle, "pty-"+strconv.FormatUint(sockets.Add(1), 10))
		if err != nil {
			return nil, err
		}
	} else {
		io.Stdin, io.Stdout, io.Stderr = l.Streams.Child()
		io.Unread = l.Streams.Unmoved
	}
	claim := l.Children.Claim()
	defer claim.End()
	if err := call(io); err != nil {
		l.abandon(claim, pidFile)
		return nil, err
	}
	pid, err := runc.ReadPidFile(pidFile)
	if err != nil {
		// Not wrapped: that a file is missing here is not that the caller's is.
		return nil, fmt.Errorf("%w: %v", runc.ErrNotDone, err)
	}
	// Before it is adopted, so that nobody is told of the end of one that is given up.
	if err := l.Streams.Started(); err != nil {
		l.abandon(claim, pidFile)
		return nil, err
	}
	return claim.Adopt(pid, l.OnExit)
}

// abandon ends a process that a runtime had made before it failed, was killed, or
// kept its pty to itself. It is in a session of its own, where killing the runtime's group
// does not reach it.
func (l *Launch) abandon(claim Claim, pidFile string) {
	pid, err := runc.ReadPidFile(pidFile)
	if err != nil {
		return
	}
	if child, err := claim.Adopt(pid, nil); err == nil {
		_ = child.Signal(unix.SIGKILL)
	}
}

// WithTerminal returns the OCI Process in spec with its terminal set to what
// containerd asked for, whatever the spec says itself.
func WithTerminal(spec []byte, terminal bool) ([]byte, error) {
	return withField(spec, "terminal", strconv.FormatBool(terminal))
}

// withSize returns the OCI Process in spec with the size of its terminal, which
// the runtime sets before the program runs. An exec runs as soon as it is made,
// so a size that is set when its pty has come may be too late for the program's
// first look.
func withSize(spec []byte, width, height uint16) ([]byte, error) {
	return withField(spec, "consoleSize", fmt.Sprintf(`{"height":%d,"width":%d}`, height, width))
}

func withField(spec []byte, name, value string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(spec, &fields); err != nil {
		return nil, fmt.Errorf("spec of the process: %w", err)
	}
	if fields == nil {
		return nil, errors.New("spec of the process: want a JSON object")
	}
	fields[name] = json.RawMessage(value)
	b, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("spec of the process: %w", err)
	}
	return b, nil
}
