package reaper

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/epoll"
)

var (
	// ErrNoPidfd says that the kernel lacks pidfd_open(2), which came with
	// Linux 5.3.
	ErrNoPidfd = errors.New("reaper: the kernel has no pidfd_open(2): Linux 5.3 or newer is needed")

	// ErrGone says that the process has ended.
	ErrGone = errors.New("reaper: process has ended")

	// ErrNotChild says that a pid does not name a child of this process.
	ErrNotChild = errors.New("not a child of this process")

	errOwned = errors.New("it already has an owner")
)

// Exit is the end of a process.
type Exit struct {
	Pid    int
	Status uint32    // exit code, or 128 + the signal that ended it
	At     time.Time // when the reaper saw it
}

// Reaper watches the children of this process. There can be only one at a
// time, because wait(2) on any child is a right of the whole process: while
// it runs, nothing else here may start children except under a [Claim].
//
// It owns two goroutines, one per source of news (pidfds and SIGCHLD). Both
// sleep in the runtime's poller and cost no thread.
type Reaper struct {
	pidfds *epoll.Set // of procs, by pid: reported when one may have an end to be waited for
	chld   chan os.Signal
	done   sync.WaitGroup
	scored bool // this process has an OOM score of its own

	mu     sync.Mutex       // guards everything below; held over system calls that cannot block only
	procs  map[int]*Process // unreaped processes with an owner, by pid
	claims claims
	stray  stray
}

// stray is the unclaimed zombie that waitid(2) names first: the only one that
// a decision is pending for. Those behind it come into sight when it is gone.
type stray struct {
	pid  int    // 0: none
	seen uint64 // the first ticket that was not yet given out when it was first seen
}

// Supported reports whether the kernel can do what this package needs:
// nil or [ErrNoPidfd].
func Supported() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		if errors.Is(err, unix.ENOSYS) {
			return ErrNoPidfd
		}
		return fmt.Errorf("reaper: pidfd_open of this process: %w", err)
	}
	return unix.Close(fd)
}

// New makes this process a child subreaper and starts to watch.
func New() (*Reaper, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("reaper: become a child subreaper: %w", err)
	}
	score, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return nil, fmt.Errorf("reaper: %w", err)
	}
	pidfds, err := epoll.New("pidfds")
	if err != nil {
		return nil, fmt.Errorf("reaper: %w", err)
	}
	r := &Reaper{
		pidfds: pidfds,
		chld:   make(chan os.Signal, 1),
		procs:  make(map[int]*Process),
		scored: string(score) != "0\n",
	}
	signal.Notify(r.chld, unix.SIGCHLD)
	r.done.Add(2)
	go r.watchOwned()
	go r.watchStrays()
	return r, nil
}

// Close ends the watching. Processes that still live are left alone and their
// Done channels stay open.
func (r *Reaper) Close() error {
	signal.Stop(r.chld)
	close(r.chld)
	err := r.pidfds.Close()
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.procs {
		p.closePidfd()
	}
	clear(r.procs)
	return err
}

// watchOwned hands each end of a known process to its owner, in the order in
// which the kernel reports them.
func (r *Reaper) watchOwned() {
	defer r.done.Done()
	for {
		pids, err := r.pidfds.Wait()
		if err != nil {
			return // closed
		}
		for _, pid := range pids {
			r.reapOwned(int(pid))
		}
		// A known zombie hides the strays behind it from waitid.
		r.sweep()
	}
}

// watchStrays looks for zombies without an owner whenever a child has ended.
// Signals coalesce, which is no loss: one sweep looks at all there is.
func (r *Reaper) watchStrays() {
	defer r.done.Done()
	for range r.chld {
		r.sweep()
	}
}

// reapOwned reaps the process known as pid, whose pidfd says that it has
// ended, and tells its owner.
func (r *Reaper) reapOwned(pid int) {
	r.mu.Lock()
	p := r.procs[pid]
	if p == nil {
		r.mu.Unlock()
		return
	}
	status, ended, err := p.reap()
	if err == nil && !ended {
		r.mu.Unlock()
		return
	}
	delete(r.procs, pid)
	r.mu.Unlock()

	if err != nil {
		// Somebody else in this process has waited for it. The end is
		// certain, its status is lost: say so with the status that the
		// contract gives to an unknown end.
		status = unknownStatus
	}
	p.finish(Exit{Pid: pid, Status: status, At: time.Now()})
}

// sweep reaps the zombies that are known to be nobody's.
func (r *Reaper) sweep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid := firstZombie()
		if pid == 0 {
			r.stray = stray{}
			return
		}
		if r.procs[pid] != nil {
			return // its pidfd is readable: watchOwned comes for it and then sweeps again
		}
		if r.stray.pid != pid {
			r.stray = stray{pid: pid, seen: r.claims.next}
		}
		if r.claims.anyBefore(r.stray.seen) {
			return // the end of the last such claim sweeps again
		}
		if _, ended, err := wait(pid); err != nil || !ended {
			return
		}
		r.stray = stray{}
	}
}

// watch makes p known and polled. It takes over pidfd, also on failure.
func (r *Reaper) watch(p *Process, pidfd int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.procs[p.pid]; other != nil {
		unix.Close(pidfd)
		return fmt.Errorf("reaper: watch process %d: %w", p.pid, errOwned)
	}
	p.pidfd = pidfd
	r.procs[p.pid] = p
	// By edges: a pidfd is readable before there is anything to wait for where the
	// process has a debugger, who comes first and may take its time, and when it is
	// closed it stays in the set, as readable as ever, while a child that is being
	// forked has a copy. The kernel reports again when the debugger has looked or gone.
	if err := r.pidfds.Add(pidfd, unix.EPOLLIN|unix.EPOLLET, uint64(p.pid)); err != nil {
		delete(r.procs, p.pid)
		p.closePidfd()
		return fmt.Errorf("reaper: watch process %d: %w", p.pid, err)
	}
	return nil
}
