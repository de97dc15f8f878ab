package stdio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLogger says that a logger could not be started or did not become ready.
var ErrLogger = errors.New("logger failed")

const (
	// readyLimit is how long a logger may take to become ready, by default.
	readyLimit = 30 * time.Second
	// killLimit is how long the end of a killed logger is waited for.
	killLimit = 5 * time.Second
	// drainLook is how often to look whether a logger has read everything:
	// the kernel does not tell of it.
	drainLook = 5 * time.Millisecond
)

// Program is a program to be started for a stream.
type Program struct {
	Path  string
	Args  []string // argv, with argv[0]
	Env   []string
	Files []*os.File // its descriptors 0, 1, 2, …, blocking; nil is /dev/null
}

// Child is a program that was started.
type Child interface {
	Pid() int
	Signal(unix.Signal) error
	Kill() error           // with all that it has started
	Done() <-chan struct{} // closed after its end
	Status() uint32        // its exit code, or 128 + the signal that ended it; valid after Done
}

// endLimits are how long a logger that was told the end of its input, by EOF, is
// given to end by itself before it is sent SIGTERM, and then before SIGKILL.
type endLimits struct{ byItself, afterTerm time.Duration }

var usualLimits = endLimits{byItself: time.Second, afterTerm: 10 * time.Second}

// logger is a program that takes a process's output. It reads the very pipes
// that the container writes, so that no byte passes through the shim and the
// shim may die without either of them noticing.
//
// A second reading end of each pipe is held here. Without it the container
// would be killed by SIGPIPE when its logger dies; with it the container goes
// on, and what it writes is thrown away from then on.
type logger struct {
	uri    string
	target target
	pipes  [2]*logPipe // of stdout and stderr; nil: the logger sees that one at its end
	child  Child       // nil: not started
	report func(error) // see Setup
	limits endLimits

	mu     sync.Mutex // guards what is below, and the pipes' files
	ending bool       // its end is no news
	dead   bool
}

// logPipe is one stream of a logger.
type logPipe struct {
	l      *logger
	theirs *os.File   // the logger's end; nil once it is started
	w      *os.File   // the writing end, if it is ours: the container's output comes from a pty
	held   int        // a reading end of our own, non-blocking; -1: closed
	files  []*os.File // further descriptors of it, that the poller watches; guarded by the logger's lock
}

// newLogPipe makes the pipe. The writing end is the container's and is
// returned, unless ours says that a relay is to write to it.
func newLogPipe(l *logger, ours bool, o Owner) (p *logPipe, container *os.File, err error) {
	r, w, err := newPipe(o)
	if err != nil {
		return nil, nil, err
	}
	p = &logPipe{l: l, theirs: os.NewFile(uintptr(r), "logger's pipe")}
	// Opened anew, because whether a descriptor blocks is shared by all its
	// copies: the logger's must.
	p.held, err = unix.Open("/proc/self/fd/"+strconv.Itoa(r), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil && ours {
		err = unix.SetNonblock(w, true)
	}
	if err != nil {
		unix.Close(w)
		p.close()
		return nil, nil, fmt.Errorf("make a logger's pipe: %w", err)
	}
	writer := os.NewFile(uintptr(w), "logger's pipe")
	if ours {
		p.w = writer
		return p, nil, nil
	}
	return p, writer, nil
}

// start starts the program and waits until it is ready. On failure it does not
// run any more.
func (l *logger) start(ctx context.Context, set *Setup) error {
	ready, w, err := pipe(true, Owner{})
	if err != nil {
		return err
	}
	defer ready.Close()
	program := Program{
		Path:  l.target.path,
		Args:  append([]string{l.target.path}, l.target.args...),
		Env:   []string{"CONTAINER_ID=" + set.ID, "CONTAINER_NAMESPACE=" + set.Namespace},
		Files: make([]*os.File, 6),
	}
	program.Files[5] = w
	for i := range l.pipes {
		end, err := l.readingEnd(i)
		if err != nil {
			for _, f := range program.Files[3:] {
				f.Close() // nil is no file to close
			}
			return err
		}
		program.Files[3+i] = end
	}
	l.child, err = set.Start(&program)
	for _, f := range program.Files[3:] {
		f.Close()
	}
	if err != nil {
		return fmt.Errorf("%w: start %s: %w", ErrLogger, l.target.path, err)
	}
	if err := l.await(ctx, ready, set.Ready); err != nil {
		_ = l.child.Kill()
		within(l.child.Done(), killLimit)
		return err
	}
	l.report = set.Report
	go l.watch()
	return nil
}

// readingEnd is what the logger reads stream i from. A stream that it is not
// to have is a pipe at its end.
func (l *logger) readingEnd(i int) (*os.File, error) {
	if p := l.pipes[i]; p != nil {
		end := p.theirs
		p.theirs = nil
		return end, nil
	}
	r, w, err := newPipe(Owner{})
	if err != nil {
		return nil, err
	}
	unix.Close(w)
	return os.NewFile(uintptr(r), "logger's pipe"), nil
}

// await waits for what says that the logger is ready, on the pipe: a byte, or
// for the scheme binary also that it was closed.
func (l *logger) await(ctx context.Context, ready *os.File, limit time.Duration) error {
	if limit == 0 {
		limit = readyLimit
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready after %v", limit))
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
		case <-l.child.Done():
		}
		_ = ready.SetReadDeadline(time.Unix(1, 0))
	}()
	n, err := ready.Read(make([]byte, 1))
	if n > 0 {
		return nil
	}
	closed := !errors.Is(err, os.ErrDeadlineExceeded)
	if closed && exiting(l.child.Pid()) {
		within(l.child.Done(), killLimit)
	}
	select {
	case <-l.child.Done():
		return fmt.Errorf("%w: %s ended with status %d before it was ready", ErrLogger, l.target.path, l.child.Status())
	default:
	}
	switch {
	case !closed:
		return fmt.Errorf("%w: %s: %w", ErrLogger, l.target.path, context.Cause(ctx))
	case l.target.scheme == schemeLoggerV2:
		return fmt.Errorf("%w: %s closed descriptor 5 and did not say that it is ready", ErrLogger, l.target.path)
	}
	return nil
}

// watch waits for the logger's end. If that is before the output's, the
// output is thrown away from then on.
func (l *logger) watch() {
	<-l.child.Done()
	l.mu.Lock()
	early := false
	for _, p := range l.pipes {
		early = early || p != nil && !p.over()
	}
	if l.ending || !early {
		l.dead = true
		l.mu.Unlock()
		return
	}
	l.dead = true
	err := fmt.Errorf("%w: %s ended with status %d before the output did, which is lost from now on", ErrLogger, l.target.path, l.child.Status())
	for _, p := range l.pipes {
		if p != nil {
			err = errors.Join(err, p.discardLocked())
		}
	}
	l.mu.Unlock()
	l.report(err)
}

// end waits for the logger's end, after the writing ends that were here were
// closed, and brings it about if need be.
func (l *logger) end() {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	defer l.close()
	if l.child == nil || within(l.child.Done(), l.limits.byItself) {
		return
	}
	_ = l.child.Signal(unix.SIGTERM) // it may have ended
	if within(l.child.Done(), l.limits.afterTerm) {
		return
	}
	_ = l.child.Kill()
	within(l.child.Done(), killLimit)
	l.report(fmt.Errorf("%w: %s did not end within %v of SIGTERM and was killed", ErrLogger, l.target.path, l.limits.afterTerm))
}

// close closes what is held of the pipes. The lock is not held.
func (l *logger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.pipes {
		if p != nil {
			p.close()
		}
	}
}

func within(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// over reports whether all was read and nobody is left to write.
func (p *logPipe) over() bool {
	return p.held < 0 || ready(p.held, 0) && unreadFd(p.held) == 0
}

// drained waits until everything was read that the pipe holds, or nobody is
// left to read it, or until stop is closed: then false.
func (p *logPipe) drained(stop <-chan struct{}) bool {
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for {
		p.l.mu.Lock()
		empty := p.l.dead || p.held < 0 || unreadFd(p.held) == 0
		p.l.mu.Unlock()
		if empty {
			return true
		}
		select {
		case <-look.C:
		case <-stop:
			return false
		}
	}
}

// wait waits until nobody is left who could write.
func (p *logPipe) wait() {
	p.l.mu.Lock()
	f, err := p.watchedLocked()
	p.l.mu.Unlock()
	if err != nil {
		return
	}
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Read(func(fd uintptr) bool { return ready(int(fd), 0) })
	}
}

// discardLocked throws away what comes.
func (p *logPipe) discardLocked() error {
	f, err := p.watchedLocked()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	r := newRelay(f, null)
	r.start(func(error) { null.Close() })
	return nil
}

// watchedLocked is a descriptor of the reading end for the poller. The one
// that is held does without: the poller would wake up at every write.
func (p *logPipe) watchedLocked() (*os.File, error) {
	if p.held < 0 {
		return nil, os.ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(p.held), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("watch a logger's pipe: %w", err)
	}
	f := os.NewFile(uintptr(fd), "logger's pipe")
	p.files = append(p.files, f)
	return f, nil
}

func (p *logPipe) close() {
	for _, f := range append(p.files, p.theirs, p.w) {
		if f != nil {
			f.Close()
		}
	}
	p.files, p.theirs = nil, nil
	if p.held >= 0 {
		unix.Close(p.held)
		p.held = -1
	}
}
