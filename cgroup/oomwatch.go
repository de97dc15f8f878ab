package cgroup

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// OOMWatch knows whether processes of one group were killed for want of memory.
//
// It goes by the kernel's count of such kills in the group, which says who was
// killed and not whose limit it was: a kill because of the container's own limit, of
// its pod's, or because the machine has no memory left is the container's if the
// process was, and not that of others in the pod. Groups nested in the container's
// count as the container: version 2 adds their kills to memory.events (unless it is
// mounted with memory_localevents); version 1 does not, so whenever it reports
// that the container's limit or one above it was hit, they are looked through.
//
// Version 1 reports neither a machine that has no memory left (such a kill is known
// when Killed is asked the next time) nor a nested group that runs into a limit of
// its own (such a kill is not known). Version 2 reports every kill.
//
// The count grows before the process is sent its SIGKILL (since Linux 4.18), so who
// calls Killed after the process has ended does not miss it.
//
// A nil OOMWatch is of a group where nothing can be known, and may be used.
type OOMWatch struct {
	from *OOMWatcher
	id   uint64
	wake func()
	dir  string // version 1: where nested groups are; empty for version 2

	eye sync.Mutex // one look at a time; taken before mu

	mu      sync.Mutex // guards all below; held over system calls that cannot block only
	control int        // memory.oom_control or memory.events, -1 when closed
	bell    int        // version 1's eventfd, -1 if there is none or it is closed
	own     uint64     // the count that Killed has answered for
	nested  uint64     // version 1: the count of the nested groups when last looked through
	due     bool       // Killed has something to tell that is not in own
	again   *time.Timer
	tries   int       // how often again was set since the kernel last reported
	buf     [512]byte // what read needs, twice what Linux 6.18 writes when all counters are full
}

// events2 is version 2's file that counts kills and can be polled.
const events2 = "memory.events"

// openOOM opens the group's counter. It is nil if the group has none.
func (g *Group) openOOM() (*OOMWatch, error) {
	place, file := g.memory()
	if file == "" {
		return nil, nil
	}
	me, err := memberships(self)
	if err != nil {
		return nil, err
	}
	// What is killed in a group that is not the container's alone may be anybody's.
	if alone(place, me) != nil {
		return nil, nil
	}
	return openOOM(place.Dir, file)
}

// memory is the place where the group's memory is limited and the file in it that
// counts; no file if there is no such place.
func (g *Group) memory() (p Place, file string) {
	if p, ok := g.with("memory"); ok {
		return p, "memory.oom_control"
	}
	if p, ok := g.with(""); ok {
		return p, events2
	}
	return Place{}, ""
}

func openOOM(dir, file string) (*OOMWatch, error) {
	fd, err := open(unix.AT_FDCWD, dir+"/"+file, unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // the memory controller is not on
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir + "/" + file, Err: err}
	}
	o := &OOMWatch{control: fd, bell: -1}
	// The first read also has the kernel allocate what later ones are made with,
	// and is what a poll of version 2's file compares with.
	s, err := o.read()
	if err != nil {
		o.shut()
		return nil, &os.PathError{Op: "read", Path: dir + "/" + file, Err: err}
	}
	o.own = s.kills
	if file != events2 {
		o.dir = dir
		o.nested = killsBelow(dir)
		if o.bell, err = hangBell(dir, fd); err != nil {
			o.shut()
			return nil, err
		}
	}
	return o, nil
}

// read reads the counter anew. The file stays open so that this needs no path, no
// allocation in the kernel and no lock that anybody holds for long: it is on the way
// of an exit. The lock is held.
func (o *OOMWatch) read() (oomState, error) {
	for {
		n, err := unix.Pread(o.control, o.buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return oomState{}, err
		}
		return parseOOM(o.buf[:n]), nil
	}
}

// hangBell has version 1 ring an eventfd whenever the group, or one above it, is out
// of memory. It is -1 on kernels that cannot (those for real time).
func hangBell(dir string, control int) (int, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, os.NewSyscallError("eventfd2", err)
	}
	err = writeFile(dir+"/cgroup.event_control", strconv.Itoa(bell)+" "+strconv.Itoa(control))
	if err != nil {
		unix.Close(bell)
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT) {
			return -1, nil
		}
		return -1, err
	}
	return bell, nil
}

// killsBelow adds up the counts of the groups nested in a version 1 group.
func killsBelow(top string) uint64 {
	var kills uint64
	// A group that vanishes takes its count along; others are still counted.
	_ = walk(top, func(dir string) error {
		if dir == top {
			return nil
		}
		b, err := readFile(dir + "/memory.oom_control")
		if err != nil {
			return err
		}
		kills += parseOOM(b).kills
		return nil
	})
	return kills
}

// Killed says whether processes were killed since it was last asked, or since the
// watch began; on version 1 also if they were stopped instead, where that is what
// the group is set to (memory.oom_control, oom_kill_disable). Any number of kills
// between two calls is told once.
//
// It is for the way of an exit: one pread of a file of the kernel's memory, and it
// waits for nothing. A group that is gone has no more kills, nor has a watch that is
// closed.
func (o *OOMWatch) Killed() bool {
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.control < 0 {
		return false
	}
	killed := o.due
	o.due = false
	if s, err := o.read(); err == nil && s.kills > o.own {
		o.own = s.kills
		killed = true
	}
	return killed
}

// rang is called when the kernel has reported.
func (o *OOMWatch) rang() {
	o.mu.Lock()
	o.tries = 0
	o.mu.Unlock()
	if o.look(true) {
		o.wake()
	}
}

// Version 1 rings before it kills. In between it looks for a victim, tells the
// console about it, which a slow console makes long, and waits its turn if another
// group is out of memory too. Nothing is heard when the count has grown, so it is
// looked at again: the first time after firstLook, then each time after twice as
// long, for four seconds in all. Mostly the end of a process comes first.
const (
	firstLook = time.Millisecond
	looks     = 12
)

// look says whether there is something for Killed to tell, and if not, sees to it
// that version 1's count is looked at again.
func (o *OOMWatch) look(rang bool) bool {
	o.eye.Lock()
	defer o.eye.Unlock()
	var nested uint64
	if o.dir != "" {
		nested = killsBelow(o.dir)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.control < 0 {
		return false
	}
	s, err := o.read()
	if nested > o.nested || rang && s.stopped() {
		o.due = true
	}
	o.nested = nested
	if o.due || s.kills > o.own {
		return true
	}
	if o.dir != "" && err == nil && o.tries < looks {
		if o.again != nil {
			o.again.Stop()
		}
		o.again = time.AfterFunc(firstLook<<o.tries, func() {
			if o.look(false) {
				o.wake()
			}
		})
		o.tries++
	}
	return false
}

// Close ends the watch and frees its descriptors. A call of wake may still be under
// way when it returns. It may be called more than once.
func (o *OOMWatch) Close() {
	if o == nil {
		return
	}
	o.from.forget(o)
	o.shut()
}

// shut closes the descriptors.
func (o *OOMWatch) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.again != nil {
		o.again.Stop()
	}
	for _, fd := range []*int{&o.control, &o.bell} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// polled is the descriptor that the kernel reports by, and as what.
func (o *OOMWatch) polled() (fd int, events uint32) {
	if o.dir == "" {
		return o.control, unix.EPOLLPRI
	}
	return o.bell, unix.EPOLLIN
}
