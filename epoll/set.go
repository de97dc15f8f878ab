package epoll

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Set is one epoll set. All methods but [Set.Wait] may be called at any time, also
// while another goroutine waits.
type Set struct {
	file *os.File
	conn syscall.RawConn

	// The waiting goroutine's own, kept here so that waiting allocates nothing.
	take   func(fd uintptr) bool
	events [32]unix.EpollEvent
	keys   [32]uint64
	n      int
	err    error
}

// New makes a set. The name is for errors. It must be closed.
func New(name string) (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s: epoll_create1: %w", name, err)
	}
	// The runtime's poller takes what is non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: set the epoll descriptor non-blocking: %w", name, err)
	}
	s := &Set{file: os.NewFile(uintptr(fd), name)}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.take = s.tryTake
	return s, nil
}

// Close ends the set and the waiting.
func (s *Set) Close() error { return s.file.Close() }

// Add has Wait return key when fd has one of the events of epoll_ctl(2). fd stays the
// caller's; when the last copy of it is closed, also those that a forked child has
// for a moment, it leaves the set. EEXIST says that it is in the set already, EPERM
// that it is of a kind that cannot be polled.
func (s *Set) Add(fd int, events uint32, key uint64) error {
	return s.control(unix.EPOLL_CTL_ADD, fd, events, key)
}

// Change gives fd, which is in the set, other events and another key.
func (s *Set) Change(fd int, events uint32, key uint64) error {
	return s.control(unix.EPOLL_CTL_MOD, fd, events, key)
}

// Remove takes fd out of the set. Events of it that were taken before may still be
// returned.
func (s *Set) Remove(fd int) error { return s.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (s *Set) control(op, fd int, events uint32, key uint64) error {
	// The kernel gives the 64 bits back as they are; package unix calls them Fd and Pad.
	event := unix.EpollEvent{Events: events, Fd: int32(key), Pad: int32(key >> 32)}
	var ctl error
	if s.conn.Control(func(set uintptr) { ctl = unix.EpollCtl(int(set), op, fd, &event) }) != nil {
		return os.ErrClosed // the poller has an error of its own for it, and no other
	}
	return os.NewSyscallError("epoll_ctl", ctl)
}

// Wait waits until something in the set has events and returns the keys, at least
// one, in the order in which the kernel reports them. They are good until the next
// call. One goroutine at a time may wait. After Close the error is [os.ErrClosed], as
// that of the other methods.
func (s *Set) Wait() ([]uint64, error) {
	if s.conn.Read(s.take) != nil {
		return nil, os.ErrClosed
	}
	if s.err != nil {
		return nil, os.NewSyscallError("epoll_wait", s.err)
	}
	for i, e := range s.events[:s.n] {
		s.keys[i] = uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
	}
	return s.keys[:s.n], nil
}

// tryTake is false when there is nothing to take.
func (s *Set) tryTake(fd uintptr) bool {
	for {
		s.n, s.err = unix.EpollWait(int(fd), s.events[:], 0)
		if s.err != unix.EINTR {
			return s.n > 0 || s.err != nil
		}
	}
}
