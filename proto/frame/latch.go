package frame

// latch wakes those who wait for something. Its zero value is nobody's. It is guarded by
// the lock of what it is part of.
type latch struct {
	opened chan struct{} // nil when nobody waits
}

// wait returns what open will close.
func (l *latch) wait() <-chan struct{} {
	if l.opened == nil {
		l.opened = make(chan struct{})
	}
	return l.opened
}

// open wakes all who wait now.
func (l *latch) open() {
	if l.opened != nil {
		close(l.opened)
		l.opened = nil
	}
}
