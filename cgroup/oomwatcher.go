package cgroup

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// OOMWatcher hears of OOM kills from the kernel, in any number of groups. Its zero
// value is ready for use, and may not be copied after the first.
//
// While it watches something it owns one epoll descriptor and one goroutine, which
// sleeps in the runtime's poller and costs no thread; when the last watch is closed
// it owns nothing. To these come, for each watch, the open counter and by version 1
// an eventfd.
//
// Version 2's file is polled rather than watched by inotify: a node lets a user have
// 128 inotify instances as a rule (fs.inotify.max_user_instances), that is all the
// shims together and whatever else root runs, and a poll is woken by the kernel at
// once instead of by a worker of its.
type OOMWatcher struct {
	mu      sync.Mutex // guards all below
	epoll   *os.File   // nil when nothing is polled
	watches map[int32]*OOMWatch
	last    int32 // the id given out last
}

// Watch begins to watch a group. When processes of it have been killed, wake is
// called, once or more, on a goroutine of the watcher's; it asks Killed. It may take
// a lock under which Killed is called elsewhere, but what it waits for other
// groups wait for too.
//
// The watch is the caller's to close. It is nil, which is no error, where there is
// nothing to be known: the group has no memory controller, or is not the container's
// own. Where a kernel cannot report, wake is never called and Killed still answers.
func (w *OOMWatcher) Watch(g *Group, wake func()) (*OOMWatch, error) {
	o, err := g.openOOM()
	if err == nil && o != nil {
		err = w.add(o, wake)
	}
	if err != nil {
		return nil, fmt.Errorf("watch cgroup %s for OOM kills: %w", g.Path(), err)
	}
	return o, nil
}

// add has the kernel's reports for o come to this watcher. If it fails, o is closed.
func (w *OOMWatcher) add(o *OOMWatch, wake func()) error {
	o.from, o.wake = w, wake
	fd, events := o.polled()
	if fd < 0 {
		return nil
	}
	w.mu.Lock()
	err := w.poll(o, fd, events)
	if err != nil {
		w.drop(o)
	}
	w.mu.Unlock()
	// Files of other kinds than the kernel's cannot be polled.
	if err != nil && !errors.Is(err, unix.EPERM) {
		o.Close()
		return err
	}
	return nil
}

// poll adds a descriptor to the epoll set. If it fails, o is to be dropped. The lock
// is held.
func (w *OOMWatcher) poll(o *OOMWatch, fd int, events uint32) error {
	if w.epoll == nil {
		if err := w.listen(); err != nil {
			return err
		}
	}
	for o.id == 0 || w.watches[o.id] != nil {
		w.last++
		o.id = w.last
	}
	// By edges: an eventfd need not be emptied then, and the file of a group that
	// was removed, which stays ready for ever, is reported once.
	ev := unix.EpollEvent{Events: events | unix.EPOLLET, Fd: o.id}
	w.watches[o.id] = o
	return os.NewSyscallError("epoll_ctl", w.control(unix.EPOLL_CTL_ADD, fd, &ev))
}

func (w *OOMWatcher) control(op, fd int, ev *unix.EpollEvent) error {
	conn, err := w.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var ctl error
	err = conn.Control(func(epoll uintptr) { ctl = unix.EpollCtl(int(epoll), op, fd, ev) })
	return errors.Join(err, ctl)
}

// listen makes the epoll set and the goroutine. The lock is held.
func (w *OOMWatcher) listen() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	// An epoll descriptor can itself be polled; the runtime's poller takes one that
	// is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	epoll := os.NewFile(uintptr(fd), "oom epoll")
	conn, err := epoll.SyscallConn()
	if err != nil {
		epoll.Close()
		return err
	}
	w.epoll = epoll
	w.watches = make(map[int32]*OOMWatch)
	go w.hear(conn)
	return nil
}

// hear passes on what the kernel reports until the epoll set is closed.
func (w *OOMWatcher) hear(conn syscall.RawConn) {
	var events [8]unix.EpollEvent
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			var err error
			for {
				n, err = unix.EpollWait(int(fd), events[:], 0)
				if err != unix.EINTR {
					break
				}
			}
			return err != nil || n > 0
		})
		if err != nil {
			return
		}
		for _, ev := range events[:max(n, 0)] {
			w.mu.Lock()
			o := w.watches[ev.Fd]
			w.mu.Unlock()
			if o != nil {
				o.rang()
			}
		}
	}
}

// forget takes o out of the epoll set.
func (w *OOMWatcher) forget(o *OOMWatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[o.id] != o {
		return
	}
	// By closing alone it would stay in the set as long as a child that is being
	// forked has a copy.
	fd, _ := o.polled()
	_ = w.control(unix.EPOLL_CTL_DEL, fd, nil)
	w.drop(o)
}

// drop removes o from those watched, and with the last one ends the goroutine. The
// lock is held.
func (w *OOMWatcher) drop(o *OOMWatch) {
	delete(w.watches, o.id)
	if len(w.watches) == 0 && w.epoll != nil {
		w.epoll.Close()
		w.epoll = nil
	}
}
