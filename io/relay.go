package stdio

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// copySize is the size of the buffers for what splice cannot move.
	copySize = 32 << 10
	// usualCalm is how long a stream must have been silent for its pipes to be
	// given their old size back.
	usualCalm = 10 * time.Second
	// silentAfter is how long one with small pipes must have been for its
	// goroutine to end.
	silentAfter = 500 * time.Millisecond
)

// errSilent says that src has been empty for a while.
var errSilent = errors.New("silent")

// copyBuffers and pageBuffers are taken only while bytes move: an idle stream
// holds none.
var (
	copyBuffers = sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}
	pageBuffers = sync.Pool{New: func() any { b := make([]byte, pageSize); return &b }}
)

// relay moves the bytes of src to dst until src ends, or until either file is
// closed and [relay.wake] called. It has a goroutine while bytes move and a
// little longer.
type relay struct {
	src, dst *os.File
	copies   bool          // through a buffer, whatever the files
	pty      *os.File      // which of src and dst is a pty's master; nil: neither
	forGood  func() bool   // whether nobody will open the slave of pty any more
	done     func(error)   // called once, at the end: with nil at src's end
	ended    chan struct{} // closed when it has ended

	// The running goroutine's own. The two functions are what the poller calls
	// when src can be read and dst be written; buf, n and err are how they and
	// the goroutine tell each other. All of it is kept here, so that a move
	// allocates nothing.
	from, to syscall.RawConn
	get, put func(fd uintptr) bool
	buffers  *sync.Pool
	buf      *[]byte
	rest     []byte // of buf, still to be written
	n        int
	err      error
	sizes    pipeSizes
	calm     time.Duration // see usualCalm
	pace     pace
	active   bool // something was moved since the deadline for reads was set
	restless bool // src cannot be waited for but by a goroutine
	hungUp   bool // nobody had src's slave open when it was last read

	total atomic.Int64 // bytes that are in dst, or were

	mu    sync.Mutex
	moved chan struct{} // closed when src is seen empty; nil while nobody waits for that; guarded by mu
	busy  bool          // bytes may be in a buffer, neither in src nor in dst; guarded by mu

	key uint64 // guarded by the waiting room's lock
}

func newRelay(src, dst *os.File) *relay {
	return &relay{src: src, dst: dst, ended: make(chan struct{}), calm: usualCalm}
}

// start begins to move.
func (r *relay) start(done func(error)) {
	r.done = done
	go r.work()
}

// wake has a relay that waits see that a file of its was closed.
func (r *relay) wake() { silent.wakeRelay(r) }

// work moves until the end, or until src falls silent: then it leaves r to the
// waiting room, which calls it again.
func (r *relay) work() {
	err := r.open()
	for err == nil {
		r.setDeadline()
		if err = r.run(); !errors.Is(err, errSilent) {
			break
		}
		if silent.enter(r) {
			return
		}
		r.restless, err = true, nil
	}
	close(r.ended)
	r.done(failure(err))
}

func (r *relay) open() (err error) {
	if r.from != nil {
		return nil
	}
	if r.from, err = r.src.SyscallConn(); err != nil {
		return err
	}
	if r.to, err = r.dst.SyscallConn(); err != nil {
		return err
	}
	r.get, r.put = r.tryGet, r.tryPut
	return nil
}

// run moves what is worth it with splice, where the files are such that it
// can.
func (r *relay) run() error {
	if !r.copies {
		err := r.move()
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return err
		}
		r.copies = true
	}
	return r.copy()
}

// failure is err unless that is src's end.
func failure(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// move is the way of pipes and fifos. Bytes that come by less than a page at a
// time are copied: each splice takes slots of the fifo, one for a single line
// too, and sixteen lines would fill a fifo whose reader is away, while a write
// fills up the slot before it first. More is spliced: the pages change hands
// inside the kernel.
//
// EINVAL, ENOSYS and EPERM say that splice does not work here; whatever was
// taken from src is in dst then. src's end is io.EOF.
func (r *relay) move() error {
	for {
		n, err := r.moveBuffer(&pageBuffers)
		for err == nil && n >= pageSize {
			r.pace.moved(n, &r.sizes)
			n, err = r.splice()
		}
		if err != nil {
			return err
		}
		r.pace.moved(n, &r.sizes)
	}
}

// copy is the way of everything else.
func (r *relay) copy() error {
	for {
		if _, err := r.moveBuffer(&copyBuffers); err != nil {
			return err
		}
	}
}

// moveBuffer waits until src has bytes and copies what one read gives of them.
func (r *relay) moveBuffer(buffers *sync.Pool) (int, error) {
	r.buffers = buffers
	err := r.from.Read(r.get)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, r.pause()
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		buffers.Put(r.buf)
		r.buf, r.rest = nil, nil
	}()
	n, err := r.n, r.err
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	case r.hungUp: // no more
		r.hungUp = false
		r.setDeadline()
	}
	pause := knockFirst
	for r.rest = (*r.buf)[:n]; len(r.rest) > 0; {
		if err := r.to.Write(r.put); err != nil {
			return 0, err
		}
		if r.isAway(r.dst) {
			// The kernel tells nobody when the slave is opened, only when it is written to.
			time.Sleep(pause)
			pause = min(2*pause, knockLongest)
			continue
		}
		if r.err != nil {
			return 0, r.err
		}
	}
	r.total.Add(int64(n))
	r.active = true
	return n, nil
}

// setDeadline bounds the wait for something to read. Only a file without poller
// refuses, and there is no waiting for one.
func (r *relay) setDeadline() {
	r.active = false
	patience := silentAfter
	if r.sizes.grown() {
		patience = r.calm
	}
	deadline := time.Now().Add(patience)
	if (r.restless || r.hungUp) && !r.sizes.grown() {
		deadline = time.Time{}
	}
	_ = r.src.SetReadDeadline(deadline)
}

// pause is what becomes of a relay whose deadline has passed: errSilent, with the
// pipes small again, if nothing was moved since it was set. It goes on waiting for a
// fifo that is too full to be small, since nobody would come back for that; and for a
// terminal that nobody has open, which a set would report at once, and again.
func (r *relay) pause() error {
	if r.active || !r.sizes.shrink(r.from, r.to) || r.hungUp {
		r.setDeadline()
		return nil
	}
	// On a busy machine the deadline may pass before the first look at src: nothing is in
	// a buffer all the same, and who drains may know.
	r.idle()
	return errSilent
}

// tryGet reads into a buffer; false when there is nothing to read.
func (r *relay) tryGet(fd uintptr) bool {
	r.buf = r.buffers.Get().(*[]byte)
	r.mu.Lock()
	r.busy = true
	r.mu.Unlock()
	r.n, r.err = read(int(fd), *r.buf)
	switch {
	case r.isAway(r.src):
		r.hungUp = true
	case r.err == unix.EIO && r.src == r.pty:
		r.err = nil // with no bytes: the end
		return true
	case r.err != unix.EAGAIN:
		return true
	}
	r.buffers.Put(r.buf)
	r.buf = nil
	r.idle()
	return false
}

// isAway reports whether f is a pty's master and its last read or write found that nobody
// has its slave open, for now. The poller tells the reader of the next bytes.
func (r *relay) isAway(f *os.File) bool { return r.err == unix.EIO && f == r.pty && !r.forGood() }

// tryPut writes of the rest what dst takes; false when it takes nothing.
func (r *relay) tryPut(fd uintptr) bool {
	r.n, r.err = write(int(fd), r.rest)
	if r.err == unix.EAGAIN && r.sizes.grow(r.from, r.to) {
		r.n, r.err = write(int(fd), r.rest)
	}
	r.rest = r.rest[r.n:]
	return r.err != unix.EAGAIN
}

// splice moves pages from pipe to pipe, and waits only for room in dst: 0 says
// that src is empty.
func (r *relay) splice() (int, error) {
	for {
		full := false
		var srcErr error
		dstErr := r.to.Control(func(dfd uintptr) {
			srcErr = r.from.Control(func(sfd uintptr) {
				r.n, r.err = splice(int(sfd), int(dfd))
				// EAGAIN does not say which side it means, and the poller
				// tells of changes only: waiting for the wrong side is
				// waiting forever.
				full = r.err == unix.EAGAIN && ready(int(sfd), unix.POLLIN)
			})
		})
		switch err := errors.Join(dstErr, srcErr); {
		case err != nil:
			return 0, err
		case full:
			if r.sizes.grow(r.from, r.to) {
				continue
			}
			if err := r.to.Write(writable); err != nil {
				return 0, err
			}
		case r.err == unix.EAGAIN:
			return 0, nil
		case r.err != nil:
			return 0, r.err
		case r.n == 0:
			return 0, io.EOF
		default:
			r.total.Add(int64(r.n))
			if r.sizes.half(r.n) {
				r.sizes.grow(r.from, r.to)
			}
			return r.n, nil
		}
	}
}

func splice(src, dst int) (int, error) {
	for {
		n, err := unix.Splice(src, nil, dst, nil, bigPipe, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return int(n), err
		}
	}
}

func writable(fd uintptr) bool { return ready(int(fd), unix.POLLOUT) }

// ready reports whether fd has one of events, an error or a hang-up.
func ready(fd int, events int16) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	for {
		n, err := unix.Poll(fds[:], 0)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

func read(fd int, buf []byte) (n int, err error) {
	for {
		n, err = unix.Read(fd, buf)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func write(fd int, buf []byte) (n int, err error) {
	for {
		n, err = unix.Write(fd, buf)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// idle tells those who wait in drained that src was seen empty.
func (r *relay) idle() {
	r.mu.Lock()
	r.busy = false
	if r.moved != nil {
		close(r.moved)
		r.moved = nil
	}
	r.mu.Unlock()
}

// waits reports whether there is something to read from f, or its end. A pty's
// master is asked so as well, and not how many bytes it has: poll has the kernel
// hand over first what the slave has written, which until then nothing counts.
func waits(f *os.File) (is bool) {
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { is = ready(int(fd), unix.POLLIN) })
	}
	return is
}

// uncounted is more than what may be on its way without being counted: in a
// relay's buffer, or between the two ends of a pty.
const uncounted = 64 << 10

// mark is what total will have reached at the latest when every byte that is in
// src now is in dst. If nothing follows them, src is seen empty before that.
func (r *relay) mark() int64 { return r.total.Load() + int64(unread(r.src)) + uncounted }

// drained waits until every byte that was in src at the time of the mark is
// in dst, until the relay has ended, or until stop is closed: then false.
func (r *relay) drained(mark int64, stop <-chan struct{}) bool {
	for {
		r.mu.Lock()
		// Not before the lock: the copying path takes bytes out of src only
		// after it has said that it is busy.
		empty := !r.busy && !waits(r.src)
		if r.moved == nil {
			r.moved = make(chan struct{})
		}
		moved := r.moved
		r.mu.Unlock()
		if empty || r.total.Load() >= mark {
			return true
		}
		select {
		case <-r.ended:
			return true
		case <-moved:
		case <-time.After(behindPause): // who writes all the time never lets src be empty
		case <-stop:
			return false
		}
	}
}
