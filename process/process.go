package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/reaper"
)

// ErrState says that the process is in no state for what was asked.
var ErrState = errors.New("not possible in this state")

// ErrFinished says that the process has ended. CRI looks for its text.
var ErrFinished = errors.New("process already finished")

// startFailed is the exit status of an exec that never ran, as containerd has it.
const startFailed = 255

// Process is one process of a container. Its fields are guarded by the
// container's lock, but those that are set when it is made.
type Process struct {
	ID    string // the exec's, or the container's for init
	Init  bool
	Stdio stdio.Paths

	slot chan struct{} // holds a token while an operation is under way

	state   State
	pid     int
	exit    reaper.Exit
	ended   bool          // exit is known; it may not have been told yet
	stopped chan struct{} // closed when the state becomes Stopped, or Deleted before anything ran
	child   Child
	owed    uint64 // the signals, one bit each, for an exec that is being started
	streams *stdio.Streams
	noStdin bool      // CloseIO came before there were streams
	size    [2]uint16 // ResizePty came before there were streams: width, height
}

// New makes a process in the state Added.
func New(id string, init bool, paths stdio.Paths) *Process {
	return &Process{
		ID:      id,
		Init:    init,
		Stdio:   paths,
		slot:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// Enter takes the operation slot: the right to change what runs (create,
// start, pause, delete). It waits for the operation before it, or for ctx.
// The container's lock must not be held.
func (p *Process) Enter(ctx context.Context) (leave func(), err error) {
	select {
	case p.slot <- struct{}{}:
		return func() { <-p.slot }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the operation under way: %w", ctx.Err())
	}
}

// State is the present state.
func (p *Process) State() State { return p.state }

// Pid is 0 before the process was made.
func (p *Process) Pid() int { return p.pid }

// Exit is valid once the process is Stopped.
func (p *Process) Exit() reaper.Exit { return p.exit }

// Stopped is closed when the state becomes Stopped, or Deleted before anything ran.
func (p *Process) Stopped() <-chan struct{} { return p.stopped }

// Streams is nil before the process's stdio was opened.
func (p *Process) Streams() *stdio.Streams { return p.streams }

// To changes the state. A change that the table does not know is [ErrState].
func (p *Process) To(s State) error {
	if !p.state.CanBecome(s) {
		return fmt.Errorf("%w: process is %s", ErrState, p.state)
	}
	if s == Stopped || s == Deleted && p.state < Stopped {
		close(p.stopped)
	}
	p.state = s
	return nil
}

// Made writes down what made the process known, its child, and sends the signals
// that came for it meanwhile.
func (p *Process) Made(child Child) {
	p.child = child
	p.pid = child.Pid()
	for sig := unix.Signal(1); p.owed != 0; sig++ {
		if p.owed&1 != 0 {
			_ = child.Signal(sig) // if it has ended by now, that is as good
		}
		p.owed >>= 1
	}
}

// Opened writes down the process's stdio and does with it what was asked for
// before it was there.
func (p *Process) Opened(s *stdio.Streams) error {
	p.streams = s
	if p.ended {
		s.Ended() // an init that was killed while it was made
	}
	if p.noStdin {
		s.CloseStdin()
	}
	if p.size != [2]uint16{} {
		return s.Resize(p.size[0], p.size[1])
	}
	return nil
}

// Ended writes down the end of the process. It is told (To Stopped) by the
// caller when that may be.
func (p *Process) Ended(e reaper.Exit) {
	p.exit, p.ended = e, true
	if p.streams != nil {
		p.streams.Ended()
	}
}

// HasEnded reports whether the end is known, told or not.
func (p *Process) HasEnded() bool { return p.ended }

// Failed writes down that an exec never came to run.
func (p *Process) Failed() {
	p.Ended(reaper.Exit{Pid: p.pid, Status: startFailed, At: time.Now()})
}

// CloseStdin gives up the shim's end of stdin, now or as soon as there is one.
func (p *Process) CloseStdin() {
	p.noStdin = true
	if p.streams != nil {
		p.streams.CloseStdin()
	}
}

// Resize sets the terminal's size, now or as soon as there is one.
func (p *Process) Resize(width, height uint16) error {
	p.size = [2]uint16{width, height}
	if p.streams != nil {
		return p.streams.Resize(width, height)
	}
	return nil
}

// Signal sends a signal to the process: [ErrFinished] when it has ended,
// [ErrState] when it does not run yet. An exec that is being started gets it when
// there is a process, which nobody waits for here: clients that give up on a start
// kill what comes of it, and take ErrState for that there will be nothing.
func (p *Process) Signal(sig unix.Signal) error {
	switch {
	case p.ended || p.state == Stopped || p.state == Deleted:
		return ErrFinished
	case p.child == nil && p.state == Starting && !p.Init:
		if sig > 0 {
			p.owed |= 1 << (sig - 1)
		}
		return nil
	case p.child == nil:
		return fmt.Errorf("%w: process is %s", ErrState, p.state)
	}
	err := p.child.Signal(sig)
	if errors.Is(err, reaper.ErrGone) {
		return ErrFinished
	}
	return err
}
