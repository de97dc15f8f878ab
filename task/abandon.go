package task

import "time"

// idleTimer ends a shim that has held no container for a while. It is for the
// one whose daemon died between `start` and Create (containerd 6860), which
// nobody else would end: a containerd that is started again may even connect
// to it, and keeps a shim alive that holds nothing.
type idleTimer struct {
	limit time.Duration
	timer *time.Timer // runs while there is no container
	due   time.Time   // when it fires; guarded by the service's lock
}

func newIdleTimer(limit time.Duration, abandon func()) *idleTimer {
	due := time.Now().Add(limit)
	return &idleTimer{limit: limit, timer: time.AfterFunc(limit, abandon), due: due}
}

// busy says that there is a container.
func (t *idleTimer) busy() { t.timer.Stop() }

// idle says that there is none any more.
func (t *idleTimer) idle() {
	t.due = time.Now().Add(t.limit)
	t.timer.Reset(t.limit)
}

// abandon ends the shim if it holds no container, unless the time was given anew when
// the timer had fired and this was on its way.
func (s *Service) abandon() {
	s.mu.Lock()
	end := len(s.containers) == 0 && !time.Now().Before(s.idle.due)
	if end {
		s.closing = true
	}
	s.mu.Unlock()
	if end {
		s.once.Do(s.Config.Shutdown)
	}
}
