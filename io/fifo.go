package stdio

import (
	"errors"
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
	met  bool     // a reader was there, or waiting to be let in, when it was opened
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
	// A shim leads a session: a terminal would become its own, and its end the shim's.
	f, err := os.OpenFile(path, flag|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open: %w", err)
	}
	return nil, f, nil
}

// openFifo opens both ends. One is to be used, the reading one if reads, and is
// made for the poller. The other is only held, like most descriptors of a shim,
// and does without: that has a price in memory, and the poller would wake up for it.
func openFifo(path string, reads bool) (*ends, error) {
	// The writing end alone can be opened if there is a reader.
	w, err := openEnd(path, unix.O_WRONLY, !reads)
	met := err == nil
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return nil, err
	}
	r, err := openEnd(path, unix.O_RDONLY, reads)
	if err != nil {
		if met {
			w.Close()
		}
		return nil, err
	}
	if !met {
		if w, err = openEnd(path, unix.O_WRONLY, !reads); err != nil {
			r.Close()
			return nil, err
		}
	}
	return &ends{r: r, w: w, met: met}, nil
}

// Pauses between two knocks, the first and the longest.
const (
	knockFirst   = 5 * time.Millisecond
	knockLongest = time.Second
)

// knock lets in who comes to read when the stream is over, until stop is closed.
// Clients open a fifo in their own time, in a way that waits for a writer, and of
// one that comes after the last writer has gone nothing would ever come. A writer
// that is there for a moment is enough.
func (e *ends) knock(stop <-chan struct{}) {
	held := true // r is
	for pause := knockFirst; ; pause = min(2*pause, knockLongest) {
		// Not before: the last close of a fifo throws its bytes away.
		if held && unread(e.r) == 0 {
			e.r.Close()
			held = false
		}
		w, err := openEnd(e.r.Name(), unix.O_WRONLY, false)
		switch {
		case err == nil:
			w.Close()
			if !held {
				return
			}
		case !errors.Is(err, unix.ENXIO):
			return // who made the fifo has removed it
		}
		select {
		case <-time.After(pause):
		case <-stop:
			return
		}
	}
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

// openFile opens a log file for appending and makes it and its parents; or the fifo that
// stands there instead, for which a plain open would wait for a reader.
func openFile(path string) (*ends, *os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("open log file: %w", err)
	}
	fifo, f, err := openPath(path, os.O_WRONLY|os.O_APPEND)
	if !errors.Is(err, unix.ENOENT) {
		return fifo, f, err
	}
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, fmt.Errorf("open log file: %w", err)
	}
	return nil, f, nil
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
