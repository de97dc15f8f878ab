package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/containerd/fifo"
)

// Streams are the caller's ends of a process's stdio. A nil stream is not
// connected: the process gets /dev/null for it. With Terminal there is one
// stream of output, Stdout, and Stderr is not used.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool
}

// IO is the stdio of one process: fifos in a directory of its own, and the
// copying between them and the caller's streams. The fifos' other ends are the
// shim's.
type IO struct {
	// Stdin, Stdout and Stderr are the fifos' paths, for the request that
	// creates the process; empty when not connected.
	Stdin, Stdout, Stderr string
	Terminal              bool

	cancel   context.CancelFunc // ends the wait for stdin's reader
	closeIn  func() error       // nil without stdin; package fifo's may run once only
	out      []*fifoReader
	inEnded  chan struct{} // closed when the caller's input has ended
	copied   chan struct{} // closed when all output has been copied
	detached chan struct{} // closed by Detach
	detach   sync.Once
}

// NewIO makes the fifos in a new directory under parent, with names that begin
// with id, opens our ends without waiting for the shim, and starts copying, all
// as containerd's client does. It must be called before the process is created,
// and ended by Close.
func NewIO(parent, id string, s Streams) (*IO, error) {
	if s.Stdin == nil && s.Stdout == nil && s.Stderr == nil {
		return OpenIO("", "", "", s)
	}
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make stdio: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return nil, fmt.Errorf("make stdio: %w", err)
	}
	var stdin, stdout, stderr string
	if s.Stdin != nil {
		stdin = filepath.Join(dir, id+"-stdin")
	}
	if s.Stdout != nil {
		stdout = filepath.Join(dir, id+"-stdout")
	}
	if s.Stderr != nil && !s.Terminal {
		stderr = filepath.Join(dir, id+"-stderr")
	}
	p, err := OpenIO(stdin, stdout, stderr, s)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// OpenIO is NewIO on fifos with these paths, which are made if they are not
// there; a daemon that was restarted finds the paths in the answer of State. A
// stream is copied when it has a path and s has it too.
func OpenIO(stdin, stdout, stderr string, s Streams) (_ *IO, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &IO{
		Stdin: stdin, Stdout: stdout, Stderr: stderr, Terminal: s.Terminal,
		cancel: cancel, inEnded: make(chan struct{}), copied: make(chan struct{}), detached: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			p.Detach()
		}
	}()
	if s.Stdin != nil && stdin != "" {
		f, err := fifo.OpenFifo(ctx, stdin, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_NONBLOCK, 0o700)
		if err != nil {
			return nil, fmt.Errorf("open stdio: %w", err)
		}
		p.closeIn = sync.OnceValue(f.Close)
		// Ends when the caller's stream does, or at the first write after
		// Detach; nobody waits for it, because a read of a terminal cannot be
		// cut short.
		go func() {
			io.Copy(f, s.Stdin)
			p.closeIn()
			close(p.inEnded)
		}()
	}
	var outputs sync.WaitGroup
	output := func(path string, w io.Writer) error {
		if path == "" || w == nil {
			return nil
		}
		f, err := openFifoReader(path)
		if err != nil {
			return fmt.Errorf("open stdio: %w", err)
		}
		p.out = append(p.out, f)
		outputs.Go(func() { drain(w, f) })
		return nil
	}
	if err := output(stdout, s.Stdout); err != nil {
		return nil, err
	}
	if err := output(stderr, s.Stderr); err != nil {
		return nil, err
	}
	go func() {
		outputs.Wait()
		close(p.copied)
	}()
	return p, nil
}

// drain copies f to w until f ends, and goes on reading after w failed: a
// process must not be blocked because its reader's reader went away.
func drain(w io.Writer, f io.Reader) {
	if _, err := io.Copy(w, f); err != nil {
		io.Copy(io.Discard, f)
	}
}

// CloseStdin closes our end of the process's stdin. The process sees its end
// only when the shim has been told so too, by CloseIO.
func (p *IO) CloseStdin() error {
	if p.closeIn == nil {
		return nil
	}
	return p.closeIn()
}

// GiveUp tells that no writer will come any more: outputs that never had one
// have ended. Those that have one are copied to their end.
func (p *IO) GiveUp() {
	for _, f := range p.out {
		f.giveUp()
	}
}

// Wait returns nil when the process's output has ended and has been copied whole.
func (p *IO) Wait(ctx context.Context) error {
	select {
	case <-p.copied:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for output: %w", context.Cause(ctx))
	}
}

// Copied is closed when the output has been copied whole.
func (p *IO) Copied() <-chan struct{} { return p.copied }

// Detach ends all copying and closes our ends, and leaves the fifos where they
// are, as the death of a daemon does. It may be called more than once.
func (p *IO) Detach() error {
	p.cancel()
	p.detach.Do(func() { close(p.detached) })
	errs := []error{p.CloseStdin()}
	for _, f := range p.out {
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach stdio: %w", err)
	}
	return nil
}

// Close detaches and removes the fifos and their directory. It may be called
// more than once.
func (p *IO) Close() error {
	errs := []error{p.Detach()}
	for _, path := range []string{p.Stdin, p.Stdout, p.Stderr} {
		if path == "" {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		// Ours if nothing else is in it.
		os.Remove(filepath.Dir(path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close stdio: %w", err)
	}
	return nil
}
