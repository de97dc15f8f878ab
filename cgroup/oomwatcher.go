package cgroup

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/epoll"
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
	mu      sync.Mutex           // guards all below
	reports *epoll.Set           // nil when nothing is polled
	watches map[uint64]*OOMWatch // by id
	last    uint64               // the id given out last
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
	if w.reports == nil {
		if err := w.listen(); err != nil {
			return err
		}
	}
	w.last++
	o.id = w.last
	w.watches[o.id] = o
	// By edges: an eventfd need not be emptied then, and the file of a group that
	// was removed, which stays ready for ever, is reported once.
	return w.reports.Add(fd, events|unix.EPOLLET, o.id)
}

// listen makes the epoll set and the goroutine. The lock is held.
func (w *OOMWatcher) listen() (err error) {
	if w.reports, err = epoll.New("OOM events"); err != nil {
		return err
	}
	w.watches = make(map[uint64]*OOMWatch)
	go w.hear(w.reports)
	return nil
}

// hear passes on what the kernel reports until the epoll set is closed.
func (w *OOMWatcher) hear(reports *epoll.Set) {
	for {
		ids, err := reports.Wait()
		if err != nil {
			return
		}
		for _, id := range ids {
			w.mu.Lock()
			o := w.watches[id]
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
	_ = w.reports.Remove(fd)
	w.drop(o)
}

// drop removes o from those watched, and with the last one ends the goroutine. The
// lock is held.
func (w *OOMWatcher) drop(o *OOMWatch) {
	delete(w.watches, o.id)
	if len(w.watches) == 0 && w.reports != nil {
		w.reports.Close()
		w.reports = nil
	}
}
