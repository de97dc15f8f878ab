package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// fifoReader reads a fifo that its writer may open later, or never.
//
// It is opened without blocking, and a fifo that had no writer yet reads as at
// its end; so it waits for the first byte or hang-up before it reads. That a
// writer came and went is seen even if it did so before the wait: the kernel
// tells a hang-up apart from a writer that never was.
type fifoReader struct {
	file      *os.File
	connected bool // a writer has been seen; only Read uses it
}

// openFifoReader makes the fifo if it is not there.
func openFifoReader(path string) (*fifoReader, error) {
	if err := unix.Mkfifo(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make fifo %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open fifo: %w", err)
	}
	return &fifoReader{file: f}, nil
}

// Read ends with io.EOF when the last writer has closed, or after giveUp when
// there was none.
func (r *fifoReader) Read(p []byte) (int, error) {
	if !r.connected {
		conn, err := r.file.SyscallConn()
		if err != nil {
			return 0, err
		}
		waitErr := conn.Read(readable)
		if err := conn.Control(func(fd uintptr) { r.connected = readable(fd) }); err != nil {
			return 0, err
		}
		if !r.connected {
			if errors.Is(waitErr, os.ErrDeadlineExceeded) {
				return 0, io.EOF
			}
			return 0, waitErr
		}
	}
	for {
		n, err := r.file.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		// giveUp, but there is a writer: its end is what counts.
		if err := r.file.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
}

// giveUp ends a wait for the first writer, now and in the future.
func (r *fifoReader) giveUp() { r.file.SetReadDeadline(time.Unix(1, 0)) }

// Close ends a Read that waits.
func (r *fifoReader) Close() error { return r.file.Close() }

// readable tells whether the fifo has bytes or its writers are gone.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
