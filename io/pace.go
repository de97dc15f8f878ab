package stdio

import (
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quickGap is how soon one move must follow another to be part of a flow
	// that does not stop. An exchange of messages, where each waits for the
	// answer to the one before, is slower.
	quickGap = 60 * time.Microsecond
	// quickRow is how many such moves make a flow.
	quickRow = 8
	// restTime is how long to let a flow gather; the kernel's timers add half of
	// it. The fastest writers fill bigPipe in as much as that.
	restTime = 100 * time.Microsecond
)

// pace spares the processor of a stream that never stops. Its writer wakes the
// relay at every write into an empty pipe, and waking costs more than moving:
// after a short rest there is more to move at once. Nobody waits for what
// rests, because more follows anyway.
type pace struct {
	last   time.Time // when the last move, or the rest after it, was over
	row    int       // moves that followed each other quickly
	rested bool      // after the last of them
}

// moved is told of each move of n bytes, and may rest.
func (p *pace) moved(n int, sizes *pipeSizes) {
	now := time.Now()
	quick := now.Sub(p.last) < quickGap
	p.last = now
	if !quick || p.rested && n < pageSize {
		p.row, p.rested = 0, false
		return
	}
	p.row++
	p.rested = p.row >= quickRow && !sizes.half(n) && rest()
	if p.rested {
		p.last = time.Now()
	}
}

// resting is set while a stream rests: one at a time does, so that the others
// have the rest of the processors.
var resting atomic.Bool

// rest sleeps without telling the scheduler, which would give the processor
// away, start a thread for it and take it back, at a multiple of the cost. To
// it, this is a computation of some microseconds.
func rest() bool {
	if !resting.CompareAndSwap(false, true) {
		return false
	}
	defer resting.Store(false)
	if runtime.GOMAXPROCS(0) < 2 {
		return false
	}
	t := unix.NsecToTimespec(int64(restTime))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
	return true
}
