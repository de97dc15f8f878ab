package stdio

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ends is a fifo opened for both directions. Holding both means that opening
// never waits for the other side, and that the other side's absence gives
// neither EOF nor EPIPE.
type ends struct {
	r, w *os.File // w is nil for the file that stands in for stdin's fifo
}

// openPath opens the fifo of that path, or, as containerd's own shim does, the
// file that stands there instead, with flag.
func openPath(path string, flag int) (*ends, *os.File, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, nil, fmt.Errorf("open fifo: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		fifo, err := openFifo(path, flag&unix.O_ACCMODE == os.O_RDONLY)
		return fifo, nil, err
	}
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	return nil, f, nil
}

// openFifo opens both ends. One is to be used, the reading one if reads, and is
// made for the poller. The other is only held, like most descriptors of a shim,
// and does without: that has a price in memory, and the poller would wake up for it.
func openFifo(path string, reads bool) (*ends, error) {
	r, err := openEnd(path, unix.O_RDONLY, reads)
	if err != nil {
		return nil, err
	}
	w, err := openEnd(path, unix.O_WRONLY, !reads)
	if err != nil {
		r.Close()
		return nil, err
	}
	return &ends{r: r, w: w}, nil
}

func openEnd(path string, flag int, polled bool) (*os.File, error) {
	fd, err := unix.Open(path, flag|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil && !polled {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		return nil, fmt.Errorf("open fifo: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openFile opens a log file for appending and makes its parents.
func openFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return f, nil
}

// behindPause is the pause between two looks at a reader that is behind. The
// kernel tells nobody that a fifo, not full, has become emptier.
const behindPause = 5 * time.Millisecond

// caughtUp waits until, of what r had moved to the fifo at the mark, no more is
// unread than it would hold if it had not been enlarged, or until stop is closed:
// then false.
func (e *ends) caughtUp(r *relay, mark int64, stop <-chan struct{}) bool {
	for {
		total := r.total.Load() // first: what is moved meanwhile counts as unread
		waiting := int64(unread(e.r))
		if waiting <= smallPipe || total-waiting >= mark-smallPipe {
			return true
		}
		select {
		case <-time.After(behindPause):
		case <-stop:
			return false
		}
	}
}
