package stdio

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// quickGap is how soon one move must follow another to be part of a flow
	// that does not stop.
	quickGap = 200 * time.Microsecond
	// quickRow is how many such moves make a flow at first, and slowRow how many
	// at most after rests that were for nothing.
	quickRow = 8
	slowRow  = 4096
	// restTime is how long to let a flow gather; the kernel's timers add half of
	// it. The fastest writers fill bigPipe in as much as that.
	restTime = 100 * time.Microsecond
	// openRest is how many rests go by for one that lets others run meanwhile.
	openRest = 8
)

// pace spares the processor of a stream that never stops. Its writer wakes the
// relay at every write into an empty pipe, and waking costs more than moving:
// after a short rest there is more to move at once. Nobody waits for what
// rests, because more follows anyway.
//
// An exchange of messages, where each waits for the answer to the one before,
// may look the same until after a rest, when no more than usual has come. Such
// a stream has to flow longer and longer before it rests again.
type pace struct {
	last  time.Time // when the last move, or the rest after it, was over
	row   int       // moves that followed each other quickly
	bytes int       // what they moved
	want  int       // how long a row makes a rest; 0: quickRow
	usual int       // what a move brought before the rest that was just over; 0: there was none
	rests int
}

// moved is told of each move of n bytes, and may rest.
func (p *pace) moved(n int, sizes *pipeSizes) {
	if p.due(time.Now(), n, sizes.half(n)) {
		p.rest()
		p.last = time.Now()
	}
}

// due reports whether the move of n bytes that was over at now is to be followed
// by a rest. Much is so much that the writer could come to stand meanwhile.
func (p *pace) due(now time.Time, n int, much bool) bool {
	quick := now.Sub(p.last) < quickGap
	p.last = now
	if p.usual > 0 {
		// A single read brings no more than a page.
		gathered := n >= min(4*p.usual, pageSize)
		p.usual = 0
		if gathered {
			p.want = quickRow
		} else {
			p.want = min(2*p.want, slowRow)
			quick = false
		}
	}
	if !quick {
		p.row, p.bytes = 0, 0
		return false
	}
	p.row++
	p.bytes += n
	p.want = max(p.want, quickRow)
	if p.row < p.want || much {
		return false
	}
	p.usual = max(p.bytes/p.row, 1)
	return true
}

// rest sleeps, as a rule without telling the scheduler: with nothing else to do
// that would wake its monitor thread after each rest, at a multiple of what a
// move costs. To it, this is a computation of some microseconds. The shim has
// one processor to run on, so now and then it is told, and everybody else who
// waits has a turn.
func (p *pace) rest() {
	if p.rests++; p.rests%openRest == 0 {
		time.Sleep(restTime)
		return
	}
	t := unix.NsecToTimespec(int64(restTime))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
