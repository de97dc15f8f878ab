package client

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// shimLog is the reading end of a bundle's log fifo, being copied.
type shimLog struct {
	fifo   *os.File
	copied chan struct{}
}

// openLog makes the fifo `log` in the bundle, if it is not there, and copies
// what comes out of it to w until closed. It is opened for reading and writing,
// as containerd does it: then neither an early shim nor a late one waits, and
// the end of one shim is not the end of the log.
func openLog(b *Bundle, w io.Writer) (*shimLog, error) {
	if w == nil {
		w = io.Discard
	}
	path := filepath.Join(b.Path, "log")
	if err := unix.Mkfifo(path, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make log fifo: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open log fifo: %w", err)
	}
	l := &shimLog{fifo: f, copied: make(chan struct{})}
	go l.copy(w)
	return l, nil
}

func (l *shimLog) copy(w io.Writer) {
	defer close(l.copied)
	buf := make([]byte, 32<<10)
	for closing := false; ; {
		n, err := l.fifo.Read(buf)
		if n > 0 {
			// A writer that fails loses lines; the shim must not notice.
			w.Write(buf[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !closing:
			// Close was called. What a shim wrote before it died is in the fifo
			// still, and its last words matter most.
			closing = true
			if !l.pending() {
				return
			}
			l.fifo.SetReadDeadline(time.Time{})
		default:
			return
		}
		if closing && !l.pending() {
			return
		}
	}
}

// pending tells whether the fifo holds bytes. TIOCINQ is FIONREAD's other name.
func (l *shimLog) pending() bool {
	conn, err := l.fifo.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	conn.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return err == nil && n > 0
}

// Close ends the copying after what is in the fifo has been copied. A shim that
// lives on finds the fifo without a reader. It may be called more than once.
func (l *shimLog) Close() error {
	l.fifo.SetReadDeadline(time.Unix(1, 0))
	<-l.copied
	if err := l.fifo.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close log fifo: %w", err)
	}
	return nil
}
