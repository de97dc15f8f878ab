package stdio

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// silent is where the relays wait whose streams are silent, as most streams are
// most of the time.
var silent waitingRoom

// waitingRoom is one epoll set for the sources of any number of relays, and one
// goroutine, in the runtime's poller, that has a relay go on when its source has
// bytes or has ended. So a silent stream costs no goroutine: a hundred stacks
// would be most of what a shim holds.
type waitingRoom struct {
	mu     sync.Mutex // guards everything below; held over system calls that cannot block only
	epoll  *os.File   // nil before the first relay came
	conn   syscall.RawConn
	last   uint64            // the key that was given out last
	relays map[uint64]*relay // those that wait, by key; a key is used once
}

// prepare makes the set before there is anybody to wait, so that what a shim has
// open does not depend on whether a stream has been silent yet. Should it fail,
// enter tries again.
func (w *waitingRoom) prepare() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoll == nil {
		_ = w.open()
	}
}

// enter has r wait: its work goes on in a goroutine of its own when there is
// something to do, or after wake. When it reports false, r's work is still the
// caller's.
func (w *waitingRoom) enter(r *relay) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoll == nil && w.open() != nil {
		return false
	}
	w.last++
	r.key = w.last
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	event.Fd, event.Pad = halves(r.key)
	var ctlErr error
	err := w.conn.Control(func(set uintptr) {
		ctlErr = r.from.Control(func(src uintptr) {
			ctlErr = unix.EpollCtl(int(set), unix.EPOLL_CTL_ADD, int(src), &event)
			if ctlErr == unix.EEXIST { // it has been here before
				ctlErr = unix.EpollCtl(int(set), unix.EPOLL_CTL_MOD, int(src), &event)
			}
		})
	})
	if err != nil || ctlErr != nil {
		return false
	}
	w.relays[r.key] = r
	return true
}

func halves(key uint64) (int32, int32)   { return int32(key), int32(key >> 32) }
func whole(low, high int32) (key uint64) { return uint64(uint32(low)) | uint64(uint32(high))<<32 }

// open makes the set. The lock is held.
func (w *waitingRoom) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // for the runtime's poller
		unix.Close(fd)
		return err
	}
	epoll := os.NewFile(uintptr(fd), "stdio epoll")
	conn, err := epoll.SyscallConn()
	if err != nil {
		epoll.Close()
		return err
	}
	w.epoll, w.conn, w.relays = epoll, conn, make(map[uint64]*relay)
	go w.attend()
	return nil
}

// attend is the goroutine. It goes on for ever.
func (w *waitingRoom) attend() {
	var events [16]unix.EpollEvent
	for {
		n := 0
		err := w.conn.Read(func(set uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(set), events[:], 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil {
			return
		}
		for _, e := range events[:max(n, 0)] {
			w.wake(whole(e.Fd, e.Pad))
		}
	}
}

// wake has the relay of that key go on, if it waits.
func (w *waitingRoom) wake(key uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked(key)
}

// wakeRelay has r go on, if it waits.
func (w *waitingRoom) wakeRelay(r *relay) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked(r.key)
}

func (w *waitingRoom) wakeLocked(key uint64) {
	if r := w.relays[key]; r != nil {
		delete(w.relays, key)
		go r.work()
	}
}
