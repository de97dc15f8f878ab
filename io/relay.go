package stdio

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// spliceMax is the most that one splice moves: the largest pipe an
	// unprivileged process may have.
	spliceMax = 1 << 20
	// copySize is the size of the buffers used where splice refuses.
	copySize = 32 << 10
)

// copyBuffers are taken only while bytes move: an idle stream holds none.
var copyBuffers = sync.Pool{New: func() any { return new([copySize]byte) }}

// relay moves the bytes of src to dst until src ends. It runs in a goroutine
// of its own and ends early when either file is closed.
type relay struct {
	src, dst *os.File

	mu    sync.Mutex
	moved chan struct{} // closed and replaced each time src was seen empty; guarded by mu
	busy  bool          // bytes may be in a buffer, neither in src nor in dst; guarded by mu
	ended chan struct{}
}

func newRelay(src, dst *os.File) *relay {
	return &relay{src: src, dst: dst, moved: make(chan struct{}), ended: make(chan struct{})}
}

// run moves with splice where the files are such that it can. It returns nil
// at src's end.
func (r *relay) run() error {
	defer close(r.ended)
	src, err := r.src.SyscallConn()
	if err != nil {
		return err
	}
	dst, err := r.dst.SyscallConn()
	if err != nil {
		return err
	}
	err = r.splice(src, dst)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		err = r.copy(src)
	}
	return err
}

// runCopying moves through a buffer. It returns nil at src's end.
func (r *relay) runCopying() error {
	defer close(r.ended)
	src, err := r.src.SyscallConn()
	if err != nil {
		return err
	}
	return r.copy(src)
}

// splice moves pages from pipe to pipe inside the kernel. EINVAL says that
// the files are none that can do that; nothing was moved then.
func (r *relay) splice(src, dst syscall.RawConn) error {
	for {
		var (
			n    int64
			err  error
			full bool
		)
		waitErr := src.Read(func(sfd uintptr) bool {
			ctlErr := dst.Control(func(dfd uintptr) {
				n, err = splice(int(sfd), int(dfd))
			})
			if ctlErr != nil {
				err = ctlErr
				return true
			}
			if err != unix.EAGAIN {
				return true
			}
			// EAGAIN does not say which side it means, and the poller tells
			// of changes only: waiting for the wrong side is waiting forever.
			if ready(int(sfd), unix.POLLIN) {
				full = true
				return true
			}
			r.idle()
			return false
		})
		switch {
		case waitErr != nil:
			return waitErr
		case full:
			if err := dst.Write(func(fd uintptr) bool { return ready(int(fd), unix.POLLOUT) }); err != nil {
				return err
			}
		case err != nil:
			return err
		case n == 0:
			return nil
		}
	}
}

func splice(src, dst int) (n int64, err error) {
	for {
		n, err = unix.Splice(src, nil, dst, nil, spliceMax, unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return n, err
		}
	}
}

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

// copy moves the bytes through a buffer.
func (r *relay) copy(src syscall.RawConn) error {
	for {
		var (
			buf *[copySize]byte
			n   int
			err error
		)
		waitErr := src.Read(func(fd uintptr) bool {
			buf = copyBuffers.Get().(*[copySize]byte)
			r.mu.Lock()
			r.busy = true
			r.mu.Unlock()
			n, err = read(int(fd), buf[:])
			if err != unix.EAGAIN {
				return true
			}
			copyBuffers.Put(buf)
			r.idle()
			return false
		})
		if waitErr != nil {
			return waitErr
		}
		if n > 0 {
			_, err = r.dst.Write(buf[:n])
		} else if err == nil {
			err = io.EOF
		}
		copyBuffers.Put(buf)
		if err == io.EOF || errors.Is(err, unix.EIO) {
			return nil // EIO is how a pty master says that its last slave was closed
		}
		if err != nil {
			return err
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

// idle tells those who wait in drained that src was seen empty.
func (r *relay) idle() {
	r.mu.Lock()
	r.busy = false
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
}

// drained waits until every byte that was in src at the time of the call is
// in dst, until the relay has ended, or until stop is closed: then false.
func (r *relay) drained(stop <-chan struct{}) bool {
	for {
		r.mu.Lock()
		moved := r.moved
		// Not before the lock: the copying path takes bytes out of src only
		// after it has said that it is busy.
		empty := !r.busy && unread(r.src) == 0
		r.mu.Unlock()
		if empty {
			return true
		}
		select {
		case <-r.ended:
			return true
		case <-moved:
		case <-stop:
			return false
		}
	}
}
