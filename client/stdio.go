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

	dir     string
	cancel  context.CancelFunc
	in      *closeOnce
	pipes   []*closeOnce
	inEnded chan struct{} // closed when the caller's input has ended
	copied  chan struct{} // closed when all output has been copied
	closed  chan struct{} // closed by Close
	closing sync.Once
}

// closeOnce closes a fifo once: package fifo does not allow it to be closed from
// two sides at the same time.
type closeOnce struct {
	io.ReadWriteCloser
	close func() error
}

func (c *closeOnce) Close() error { return c.close() }

// NewIO makes the fifos in a new directory under parent, with names that begin
// with id, opens our ends without waiting for the shim, and starts copying, all
// as containerd's client does. It must be called before the process is created,
// and ended by Close.
func NewIO(parent, id string, s Streams) (_ *IO, err error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, fmt.Errorf("make stdio: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return nil, fmt.Errorf("make stdio: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &IO{Terminal: s.Terminal, dir: dir, cancel: cancel,
		inEnded: make(chan struct{}), copied: make(chan struct{}), closed: make(chan struct{})}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	open := func(name string, flag int) (string, *closeOnce, error) {
		path := filepath.Join(dir, id+"-"+name)
		f, err := fifo.OpenFifo(ctx, path, flag|syscall.O_CREAT|syscall.O_NONBLOCK, 0o700)
		if err != nil {
			return "", nil, fmt.Errorf("make stdio: %s: %w", name, err)
		}
		c := &closeOnce{f, sync.OnceValue(f.Close)}
		p.pipes = append(p.pipes, c)
		return path, c, nil
	}
	var outputs sync.WaitGroup
	if s.Stdin != nil {
		path, f, err := open("stdin", syscall.O_WRONLY)
		if err != nil {
			return nil, err
		}
		p.Stdin, p.in = path, f
		// Ends when the caller's stream does, or by Close; nobody waits for it,
		// because a read of a terminal cannot be cut short.
		go func() {
			io.Copy(f, s.Stdin)
			f.Close()
			close(p.inEnded)
		}()
	}
	if s.Stdout != nil {
		path, f, err := open("stdout", syscall.O_RDONLY)
		if err != nil {
			return nil, err
		}
		p.Stdout = path
		outputs.Go(func() { drain(s.Stdout, f) })
	}
	if s.Stderr != nil && !s.Terminal {
		path, f, err := open("stderr", syscall.O_RDONLY)
		if err != nil {
			return nil, err
		}
		p.Stderr = path
		outputs.Go(func() { drain(s.Stderr, f) })
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
	if p.in == nil {
		return nil
	}
	return p.in.Close()
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

// Close ends all copying and removes the fifos. It may be called more than once.
func (p *IO) Close() error {
	p.cancel()
	p.closing.Do(func() { close(p.closed) })
	var errs []error
	for _, f := range p.pipes {
		errs = append(errs, f.Close())
	}
	errs = append(errs, os.RemoveAll(p.dir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close stdio: %w", err)
	}
	return nil
}
