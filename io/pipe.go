package stdio

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// pageSize is what a slot of a pipe holds. Where pages are larger, this is
	// the less that it is good for.
	pageSize = 4096
	// smallPipe is what a pipe holds by default, and bigPipe what those of a
	// busy stream are to hold: as much as fs.pipe-max-size allows by default.
	smallPipe = 64 << 10
	bigPipe   = 1 << 20
)

// pipe makes a pipe for a container: ours is non-blocking, for the poller;
// the container's is blocking, as programs expect, and owned by o.
func pipe(oursReads bool, o Owner) (ours, theirs *os.File, err error) {
	r, w, err := newPipe(o)
	if err != nil {
		return nil, nil, err
	}
	mine, other := r, w
	if !oursReads {
		mine, other = w, r
	}
	if err := unix.SetNonblock(mine, true); err != nil {
		unix.Close(r)
		unix.Close(w)
		return nil, nil, fmt.Errorf("make a stdio pipe: %w", err)
	}
	return os.NewFile(uintptr(mine), "stdio pipe"), os.NewFile(uintptr(other), "stdio pipe"), nil
}

// newPipe makes a pipe with blocking ends.
func newPipe(o Owner) (r, w int, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, fmt.Errorf("make a stdio pipe: %w", err)
	}
	// The container may open its end again through /proc/self/fd, and then
	// the inode's owner decides; both ends share the inode.
	if o != (Owner{}) {
		if err := unix.Fchown(fds[0], o.UID, o.GID); err != nil {
			unix.Close(fds[0])
			unix.Close(fds[1])
			return -1, -1, fmt.Errorf("make a stdio pipe: give it to %d:%d: %w", o.UID, o.GID, err)
		}
	}
	return fds[0], fds[1], nil
}

// pipeSizes enlarges the two pipes of a relay while that is of use. An idle
// pipe of bigPipe takes 15 KiB of kernel memory more than one of smallPipe, and
// counts against fs.pipe-user-pages-soft, which all of root's pipes share: so a
// stream gets them when it has proved busy, and gives them back.
type pipeSizes struct {
	tried    bool // grow was called since the last shrink
	from, to int  // what the pipes held before they were enlarged; 0: they are not
}

// grown reports whether there is, or may be, something to shrink.
func (s *pipeSizes) grown() bool { return s.tried || s.from > 0 || s.to > 0 }

// grow enlarges what it can, once. It reports whether the second pipe now has
// room that it did not have before.
func (s *pipeSizes) grow(from, to syscall.RawConn) bool {
	if s.tried {
		return false
	}
	s.tried = true
	if s.from == 0 {
		s.from = enlarge(from)
	}
	if s.to > 0 {
		return false
	}
	s.to = enlarge(to)
	return s.to > 0
}

// shrink gives the pipes their old sizes back. One that holds more than that keeps its
// size; it is to be tried again then, and the answer is false.
func (s *pipeSizes) shrink(from, to syscall.RawConn) bool {
	s.tried = false
	if resize(from, s.from) {
		s.from = 0
	}
	if resize(to, s.to) {
		s.to = 0
	}
	return !s.grown()
}

// half reports whether n bytes are half of what the pipes hold.
func (s *pipeSizes) half(n int) bool {
	if s.from > 0 && s.to > 0 {
		return n >= bigPipe/2
	}
	return n >= smallPipe/2
}

// enlarge makes the pipe as large as the limits allow (fs.pipe-max-size and
// fs.pipe-user-pages-soft) and returns what it held before; 0 when it stays as
// it is, or is no pipe.
func enlarge(pipe syscall.RawConn) (before int) {
	_ = pipe.Control(func(fd uintptr) {
		size, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0)
		if err != nil {
			return
		}
		for want := bigPipe; want > size; want /= 2 {
			if _, err := unix.FcntlInt(fd, unix.F_SETPIPE_SZ, want); err == nil {
				before = size
				return
			} else if !errors.Is(err, unix.EPERM) {
				return
			}
		}
	})
	return before
}

// resize is false if the pipe holds more than it is to.
func resize(pipe syscall.RawConn, size int) bool {
	var err error
	if size > 0 {
		_ = pipe.Control(func(fd uintptr) { _, err = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) })
	}
	return !errors.Is(err, unix.EBUSY)
}

// unread is the number of bytes that wait in the pipe or fifo f.
func unread(f *os.File) int {
	n := 0
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { n = unreadFd(int(fd)) })
	}
	return n
}

func unreadFd(fd int) int {
	n, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n
}

// take reads what waits in the pipe r, whose end is non-blocking.
func take(r *os.File) []byte {
	buf := make([]byte, unread(r))
	n := 0
	if conn, err := r.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { n, _ = read(int(fd), buf) })
	}
	return buf[:n]
}
