package reaper

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/thread"
)

// Process is a child of the shim that has an owner. It is not reaped before
// its end was recorded here, so until Done its pid names it and nothing else.
type Process struct {
	pid    int
	onExit func(Exit)
	done   chan struct{}
	exit   Exit // written before done is closed

	mu    sync.Mutex // guards pidfd against its closing
	pidfd int        // -1 after the end
}

func newProcess(pid int, onExit func(Exit)) *Process {
	return &Process{pid: pid, onExit: onExit, done: make(chan struct{}), pidfd: -1}
}

// Attr is a program to start.
type Attr struct {
	Path  string   // no look-up in PATH
	Args  []string // argv, with argv[0]
	Dir   string   // "": as this process
	Env   []string
	Files []*os.File // the child's descriptors 0, 1, 2, …; nil is /dev/null. They stay the caller's and become blocking.

	// KeepOnParentDeath leaves the program running when this process dies.
	// Otherwise it is killed, so that a runtime does not go on working on a
	// container whose shim is gone.
	KeepOnParentDeath bool
}

// Start starts a program in a process group of its own. onExit, which may be
// nil, is called once with its end, on the reaper's goroutine: it must neither
// block nor call a method of the Reaper that takes a Claim. The caller calls [Reach]
// before.
func (r *Reaper) Start(a *Attr, onExit func(Exit)) (p *Process, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("reaper: start %s: %w", a.Path, err)
	}
	defer null.Close()
	fds := make([]uintptr, max(3, len(a.Files)))
	for i := range fds {
		fds[i] = null.Fd()
		if i < len(a.Files) && a.Files[i] != nil {
			fds[i] = childFd(a.Files[i])
		}
	}
	// The child may end before it is known: until then it looks like a stray.
	c := r.Claim()
	defer c.End()
	pid, pidfd, free, err := a.fork(fds)
	if err != nil {
		return nil, fmt.Errorf("reaper: start %s: %w", a.Path, err)
	}
	defer func() {
		if err != nil {
			free()
		}
	}()
	ended := func(e Exit) {
		free()
		if onExit != nil {
			onExit(e)
		}
	}
	if pidfd < 0 { // clone(2) knows CLONE_PIDFD since 5.2, so this is a seccomp filter's doing
		return c.Adopt(pid, ended)
	}
	r.plainScore(pid)
	p = newProcess(pid, ended)
	if err = r.watch(p, pidfd); err != nil {
		// Nobody will own it: it must not run.
		_ = unix.Kill(-pid, unix.SIGKILL)
		return nil, err
	}
	return p, nil
}

// fork starts the program with these files. free is to be called when it has ended.
func (a *Attr) fork(fds []uintptr) (pid, pidfd int, free func(), err error) {
	pidfd, free = -1, func() {}
	sys := &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd}
	if !a.KeepOnParentDeath {
		// The signal comes when the thread that forked ends, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		free = thread.Keep()
		sys.Pdeathsig = unix.SIGKILL
	}
	pid, err = syscall.ForkExec(a.Path, a.Args, &syscall.ProcAttr{Dir: a.Dir, Env: a.Env, Files: fds, Sys: sys})
	if err != nil {
		free()
	}
	return pid, pidfd, free, err
}

// plainScore gives a child the OOM score of a process that nobody has set one
// for. The shim's own, which containerd wants near its own, would pass through
// the runtime to every container whose spec names none, and most nodes protect
// containerd from the OOM killer. The runtime needs milliseconds before it makes
// a process; it has executed just now.
func (r *Reaper) plainScore(pid int) {
	if r.scored {
		// Refused (EACCES) where the score is to be lowered below what a
		// privileged process has set: then it stays as it is.
		_ = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte("0"), 0)
	}
}

// childFd is f's descriptor number, with f made blocking: a program does not
// expect EAGAIN from its own stdio, and os.Pipe's ends are non-blocking.
func childFd(f *os.File) uintptr {
	fd := f.Fd()
	_ = unix.SetNonblock(int(fd), false)
	return fd
}

// Pid is the process's number. It names this process for sure only until Done.
func (p *Process) Pid() int { return p.pid }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit is the end of the process; it is valid after Done.
func (p *Process) Exit() Exit { return p.exit }

// Signal sends sig to the process: [ErrGone] when it has ended.
func (p *Process) Signal(sig unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return ErrGone
	}
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	if err != nil {
		return fmt.Errorf("reaper: send signal %d to process %d: %w", sig, p.pid, err)
	}
	return nil
}

// SignalGroup sends sig to the process group that Start made for the process:
// [ErrGone] when the process has ended (its group's number may then be
// somebody else's).
func (p *Process) SignalGroup(sig unix.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return ErrGone
	}
	if err := unix.Kill(-p.pid, sig); err != nil {
		return fmt.Errorf("reaper: send signal %d to process group %d: %w", sig, p.pid, err)
	}
	return nil
}

// reap waits for the process if it has ended. The pid is freed and the pidfd
// closed in one step for Signal and SignalGroup, which so never reach a
// process that got the number next.
func (p *Process) reap() (status uint32, ended bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status, ended, err = wait(p.pid)
	if ended || err != nil {
		p.closeLocked()
	}
	return status, ended, err
}

func (p *Process) closePidfd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLocked()
}

// closeLocked also takes the pidfd out of the epoll set, at the latest when a
// child that is being forked this moment, and so holds a copy, has called exec.
func (p *Process) closeLocked() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

func (p *Process) finish(e Exit) {
	p.exit = e
	close(p.done)
	if p.onExit != nil {
		p.onExit(e)
	}
}
