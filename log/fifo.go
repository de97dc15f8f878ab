package log

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Fifo is the write end of the bundle's fifo `log`. It owns one descriptor.
type Fifo struct {
	fd int
}

// OpenFifo opens the fifo at path. It does not wait for a reader: opened for
// both directions, the fifo keeps its bytes (64 KiB) while containerd is away.
func OpenFifo(path string) (*Fifo, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("stat log %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		unix.Close(fd)
		return nil, fmt.Errorf("open log %s: not a fifo", path)
	}
	return &Fifo{fd: fd}, nil
}

// Fd is the descriptor, which stays the Fifo's.
func (f *Fifo) Fd() int { return f.fd }

// Write writes one line, or drops it when the fifo is full. It never fails.
func (f *Fifo) Write(line []byte) (int, error) {
	for {
		_, err := unix.Write(f.fd, line)
		if !errors.Is(err, unix.EINTR) {
			return len(line), nil
		}
	}
}
