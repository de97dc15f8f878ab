package task

import "time"

// idleTimer ends a shim that has held no container for a while. It is for the
// one whose daemon died between `start` and Create (containerd 6860), which
// nobody else would end: a containerd that is started again may even connect
// to it, and keeps a shim alive that holds nothing.
type idleTimer struct {
	limit time.Duration
	timer *time.Timer // runs while there is no container
}

func newIdleTimer(limit time.Duration, abandon func()) *idleTimer {
	return &idleTimer{limit: limit, timer: time.AfterFunc(limit, abandon)}
}

// busy says that there is a container.
func (t *idleTimer) busy() { t.timer.Stop() }

// idle says that there is none any more.
func (t *idleTimer) idle() { t.timer.Reset(t.limit) }

// abandon ends the shim if it holds no container.
func (s *Service) abandon() {
	s.mu.Lock()
	end := len(s.containers) == 0
	if end {
		s.closing = true
	}
	s.mu.Unlock()
	if end {
		s.once.Do(s.Config.Shutdown)
	}
}
