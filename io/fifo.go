package stdio

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ends is a fifo opened for both directions. Holding both means that opening
// never waits for the other side, and that the other side's absence gives
// neither EOF nor EPIPE.
type ends struct {
	r, w *os.File // non-blocking
}

func openFifo(path string) (*ends, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("open fifo: %w", &os.PathError{Op: "stat", Path: path, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, fmt.Errorf("%q: %w: not a fifo", path, ErrInvalid)
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open fifo: %w", err)
	}
	w, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("open fifo: %w", err)
	}
	return &ends{r: r, w: w}, nil
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

// pipe makes a pipe for a container: ours is non-blocking, for the poller;
// the container's is blocking, as programs expect, and owned by o.
func pipe(oursReads bool, o Owner) (ours, theirs *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a stdio pipe: %w", err)
	}
	mine, other := fds[0], fds[1]
	if !oursReads {
		mine, other = fds[1], fds[0]
	}
	// The container may open its end again through /proc/self/fd, and then
	// the inode's owner decides; both ends share the inode.
	var chown error
	if o != (Owner{}) {
		chown = unix.Fchown(other, o.UID, o.GID)
	}
	if err := errors.Join(chown, unix.SetNonblock(mine, true)); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, fmt.Errorf("make a stdio pipe: %w", err)
	}
	return os.NewFile(uintptr(mine), "stdio pipe"), os.NewFile(uintptr(other), "stdio pipe"), nil
}

// unread is the number of bytes that wait in the pipe or fifo f.
func unread(f *os.File) int {
	n := 0
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	}
	return n
}
