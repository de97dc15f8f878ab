package cgroup

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/pidfd"
)

// Kill sends SIGKILL to every process in the group and the groups nested in it,
// those that are being forked meanwhile included, and thaws what was frozen: by
// version 1 no signal is delivered before, and by version 2 the group would stay
// frozen, which is a paused container to a runtime and none that can be deleted. It
// returns when the signals are sent, not when the processes have ended. A group that
// is gone or empty is no error.
//
// It is ErrNotOwn, and nothing was signalled, if the group is the root group or one
// that the calling process is in.
func (g *Group) Kill() error {
	p, err := g.own()
	if err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	// In hybrid mode version 2 may have the same group. There it is killed in one write
	// from Linux 5.14 on, but for processes whose first thread has ended: to that alone
	// the kernel sends the signal (6.18). Where it fails there is the loop as well.
	if u, ok := g.with(""); ok && u.Path == p.Path {
		u.killAtOnce()
	}
	if err := p.killEach(); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", p.Path, err)
	}
	return nil
}

// killAtOnce kills a version 2 group, if it is the container's alone and the kernel
// can.
func (p *Place) killAtOnce() {
	if me, err := memberships(self); err == nil && alone(*p, me) == nil {
		_ = writeFile(p.Dir+"/cgroup.kill", "1")
	}
}

// Signal sends a signal to every process in the group and the groups nested in it,
// but not to the one whose pid is except: to each once, and to those that are forked
// meanwhile as well. What is frozen gets it when it is thawed. A group that is gone
// or empty is no error. ErrNotOwn is as with Kill, and SIGKILL is better sent by that.
func (g *Group) Signal(sig unix.Signal, except int) error {
	p, err := g.own()
	if err == nil {
		err = p.signalEach(sig, map[int]struct{}{except: {}}, nil)
	}
	if err != nil {
		return fmt.Errorf("signal cgroup %s: %w", g.Path(), err)
	}
	return nil
}

// killEach kills one process after the other. What forks faster than that is frozen
// first.
func (p *Place) killEach() error {
	defer p.thaw()
	return p.signalEach(unix.SIGKILL, make(map[int]struct{}), func(round int) {
		const unfrozen = 4 // rounds before the freezer is used
		if round == unfrozen {
			p.freeze()
		}
	})
}

// signalEach signals one process after the other until it sees none that is not
// among those signalled. before, if not nil, is called before each round.
func (p *Place) signalEach(sig unix.Signal, signalled map[int]struct{}, before func(round int)) error {
	const rounds = 64
	for round := range rounds {
		if before != nil {
			before(round)
		}
		pids, err := p.pids()
		if err != nil {
			return err
		}
		fresh := false
		for _, pid := range pids {
			_, was := signalled[pid]
			if was && sig != unix.SIGKILL {
				continue
			}
			// A pid may be another's by now. A second SIGKILL does no harm.
			signalled[pid] = struct{}{}
			fresh = fresh || !was
			if err := p.signal(pid, sig); err != nil {
				return err
			}
		}
		if !fresh {
			return nil
		}
	}
	return fmt.Errorf("new processes after %d rounds of signals: %w", rounds, unix.EAGAIN)
}

// signal sends a signal to a process that was seen in this place. Between then and
// now its pid may have become another's, so it is asked for again once a pidfd
// holds it.
func (p *Place) signal(pid int, sig unix.Signal) error {
	fd, err := pidfd.Open(pid)
	if err != nil {
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	ms, err := memberships(strconv.Itoa(pid))
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	if !p.has(ms) && !p.hasThreadOf(pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: %w", pid, os.NewSyscallError("pidfd_send_signal", err))
	}
	return nil
}

// has reports whether who has these memberships is in the place or below it.
func (p *Place) has(ms []membership) bool {
	m, ok := in(ms, p.Controllers)
	return ok && within(m.path, p.Path)
}

// hasThreadOf reports whether a thread of the process is in the place. The process
// itself is where its first thread is, which version 1 shows in the root group once
// that has ended, though others go on.
func (p *Place) hasThreadOf(pid int) bool {
	dir := strconv.Itoa(pid) + "/task"
	threads, err := os.ReadDir("/proc/" + dir)
	if err != nil {
		return false
	}
	for _, t := range threads {
		if ms, err := memberships(dir + "/" + t.Name()); err == nil && p.has(ms) {
			return true
		}
	}
	return false
}

// freeze stops all processes in the group, if it can, and waits a moment until
// they are stopped. A process in an uninterruptible sleep can keep that from ever
// happening, so it goes on without: stopped are then all others.
func (p *Place) freeze() bool {
	var state, stopped string
	switch {
	case p.Controllers == "":
		if writeFile(p.Dir+"/cgroup.freeze", "1") != nil {
			return false
		}
		state, stopped = p.Dir+"/cgroup.events", "frozen 1"
	case hasWord(p.Controllers, "freezer"):
		if writeFile(p.Dir+"/freezer.state", "FROZEN") != nil {
			return false
		}
		state, stopped = p.Dir+"/freezer.state", "FROZEN"
	default:
		return false
	}
	const patience, step = 100 * time.Millisecond, time.Millisecond
	for range patience / step {
		b, err := readFile(state)
		if err != nil || strings.Contains(string(b), stopped) {
			break
		}
		time.Sleep(step)
	}
	return true
}

// Thaw lets a container's processes go on that were frozen, and those of nested
// groups, whoever froze them. A group that is gone or not frozen is no error.
//
// It is ErrNotOwn, and nothing was thawed, in the same cases as with Kill.
func (g *Group) Thaw() error {
	p, err := g.own()
	if err != nil {
		return fmt.Errorf("thaw cgroup: %w", err)
	}
	p.thaw()
	return nil
}

func (p *Place) thaw() {
	// What cannot be thawed is gone, or frozen by a group above, which is not ours.
	switch {
	case p.Controllers == "":
		// A group nested in it that is still frozen is no hindrance to SIGKILL there.
		_ = writeFile(p.Dir+"/cgroup.freeze", "0")
	case hasWord(p.Controllers, "freezer"):
		_ = walk(p.Dir, func(dir string) error {
			_ = writeFile(dir+"/freezer.state", "THAWED")
			return nil
		})
	}
}
