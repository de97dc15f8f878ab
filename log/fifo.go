package log

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Fifo is the write end of the bundle's fifo `log`. It owns one descriptor.
type Fifo struct {
	fd   int
	torn atomic.Bool // the last line was cut off, without its newline
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
//
// Of a line that is longer than a page the fifo may take a part. The next line begins
// a line of its own all the same.
func (f *Fifo) Write(line []byte) (int, error) {
	text := line
	if f.torn.Load() {
		text = append([]byte{'\n'}, line...)
	}
	for {
		n, err := unix.Write(f.fd, text)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case n > 0:
			f.torn.Store(n < len(text))
		}
		return len(line), nil
	}
}
