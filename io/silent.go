package stdio

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/epoll"
)

// silent is where the relays wait whose streams are silent, as most streams are
// most of the time.
var silent waitingRoom

// waitingRoom is one epoll set for the sources of any number of relays, and one
// goroutine that has a relay go on when its source has bytes or has ended. So a
// silent stream costs no goroutine: a hundred stacks would be most of what a shim
// holds.
type waitingRoom struct {
	mu      sync.Mutex        // guards everything below; held over system calls that cannot block only
	sources *epoll.Set        // nil before the first relay came
	last    uint64            // the key that was given out last
	relays  map[uint64]*relay // those that wait, by key; a key is used once
}

// prepare makes the set before there is anybody to wait, so that what a shim has
// open does not depend on whether a stream has been silent yet. Should it fail,
// enter tries again.
func (w *waitingRoom) prepare() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sources == nil {
		_ = w.open()
	}
}

// enter has r wait: its work goes on in a goroutine of its own when there is
// something to do, or after wake. When it reports false, r's work is still the
// caller's.
func (w *waitingRoom) enter(r *relay) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sources == nil && w.open() != nil {
		return false
	}
	w.last++
	r.key = w.last
	const once = unix.EPOLLIN | unix.EPOLLONESHOT
	var addErr error
	err := r.from.Control(func(src uintptr) {
		addErr = w.sources.Add(int(src), once, r.key)
		if errors.Is(addErr, unix.EEXIST) { // it has been here before
			addErr = w.sources.Change(int(src), once, r.key)
		}
	})
	if err != nil || addErr != nil {
		return false
	}
	w.relays[r.key] = r
	return true
}

// open makes the set, which is never closed. The lock is held.
func (w *waitingRoom) open() (err error) {
	if w.sources, err = epoll.New("silent streams"); err != nil {
		return err
	}
	w.relays = make(map[uint64]*relay)
	go w.attend(w.sources)
	return nil
}

// attend is the goroutine. It goes on for ever.
func (w *waitingRoom) attend(sources *epoll.Set) {
	for {
		keys, err := sources.Wait()
		if err != nil {
			return
		}
		for _, key := range keys {
			w.wake(key)
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
