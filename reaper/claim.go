package reaper

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/pidfd"
)

// Claim announces that a process may appear whose pid is not known yet: it is
// taken before a program is started that leaves a child to this process
// (runc create, runc exec), and ended when that child was adopted or cannot
// come any more. Zombies that appear meanwhile are kept for it.
//
// Claims must be short-lived: one that is never ended keeps every stray zombie.
type Claim struct {
	r      *Reaper
	ticket uint64
	prev   *Claim
	next   *Claim
	once   sync.Once
}

// claims is the open claims in the order of their tickets.
type claims struct {
	next        uint64 // the next ticket
	first, last *Claim
}

// anyBefore reports whether a claim with a ticket below t is open.
func (c *claims) anyBefore(t uint64) bool {
	return c.first != nil && c.first.ticket < t
}

func (c *claims) push(n *Claim) {
	n.ticket = c.next
	c.next++
	n.prev = c.last
	if c.last == nil {
		c.first = n
	} else {
		c.last.next = n
	}
	c.last = n
}

func (c *claims) remove(n *Claim) {
	if n.prev == nil {
		c.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		c.last = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}

// Claim opens a claim. The caller must End it.
func (r *Reaper) Claim() *Claim {
	c := &Claim{r: r}
	r.mu.Lock()
	r.claims.push(c)
	r.mu.Unlock()
	return c
}

// End gives the claim up. It may be called more than once.
func (c *Claim) End() {
	c.once.Do(func() {
		c.r.mu.Lock()
		c.r.claims.remove(c)
		c.r.mu.Unlock()
		c.r.sweep()
	})
}

// Adopt makes the child pid, alive or already a zombie, known: from now on
// its end belongs to onExit (see [Reaper.Start] for what that may do). It must
// be called before End. A pid that is not a child of this process is refused
// with [ErrNotChild]. A child that cannot be watched, for want of descriptors, is
// killed: it would run on for nobody.
func (c *Claim) Adopt(pid int, onExit func(Exit)) (*Process, error) {
	fd, err := pidfd.Open(pid)
	if err != nil {
		if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
			return nil, fmt.Errorf("reaper: adopt process %d: %w", pid, ErrNotChild)
		}
		killChild(pid)
		return nil, fmt.Errorf("reaper: adopt process %d: %w", pid, err)
	}
	// After pidfd_open: were the number recycled in between, the new holder
	// would have to be a child of ours as well to pass, and our children keep
	// their numbers until they are reaped, which this claim prevents.
	if !isChild(pid) {
		unix.Close(fd)
		return nil, fmt.Errorf("reaper: adopt process %d: %w", pid, ErrNotChild)
	}
	p := newProcess(pid, onExit)
	if err := c.r.watch(p, fd); err != nil {
		if !errors.Is(err, errOwned) {
			killChild(pid)
		}
		return nil, err
	}
	return p, nil
}

// killChild kills by number, if that is a child's. A claim that is open, and from
// before the child was reaped, keeps it from being another's.
func killChild(pid int) {
	if isChild(pid) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}
