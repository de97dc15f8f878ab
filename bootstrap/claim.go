package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds how long start waits for others: for the lock of the
// directory, and for a shim that is there to answer.
const patience = 10 * time.Second

// claim finds out who serves the group whose socket is path. Either it is a
// living shim: then version is that of the Task API it serves, prefer if it can.
// Or it is nobody: then version is 0, a dead one's socket has been removed, and s,
// unless it is nil, listens there from the same moment on.
//
// id is a container that the living shim is asked about.
func claim(path, id string, prefer int, wait time.Duration, s *socket) (version int, err error) {
	dir := filepath.Dir(path)
	if err := makeSocketDir(dir); err != nil {
		return 0, err
	}
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		lock, err := lockDir(dir, time.Until(deadline))
		if err != nil {
			return 0, err
		}
		conn, err := connect(path)
		if errors.Is(err, unix.ECONNREFUSED) {
			if err = removeDead(path); err == nil {
				err = unix.ENOENT
			}
		}
		if errors.Is(err, unix.ENOENT) {
			err = nil
			if s != nil {
				err = s.bind(path)
			}
			if err == nil {
				lock.release()
				return 0, nil
			}
		}
		lock.release()

		if err == nil {
			if version, err = ask(conn, prefer, id, deadline); err == nil {
				return version, nil
			}
		}
		switch {
		case errors.Is(err, errLost):
			// The shim, or the start that was making it, ended while we asked: now
			// it may be up to us.
		case errors.Is(err, unix.EAGAIN):
			// The queue is full: whoever listens has not come up, or is very busy.
			err = ErrHung
		case errors.Is(err, unix.EADDRINUSE):
			// Bound by another kind of shim, which does not know our lock.
		default:
			return 0, fmt.Errorf("claim %s: %w", path, err)
		}
		if time.Now().Add(pause).After(deadline) {
			return 0, fmt.Errorf("claim %s: %w", path, err)
		}
		time.Sleep(pause)
	}
}

// connect connects to a socket without ever waiting: EAGAIN says that the
// other side's queue is full, ECONNREFUSED that nobody listens any more. Who does
// listen must be the same user, or root.
func connect(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	for {
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := trust(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// trust checks that the other side of a connected socket is the same user as
// we are, or root of our user namespace. Others have other numbers here, or
// the overflow one.
func trust(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return fmt.Errorf("ask who is on the other side: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: it belongs to user %d", ErrForeign, cred.Uid)
	}
	return nil
}

// removeDead unlinks a socket that nobody listens on. The caller holds the
// directory's lock.
func removeDead(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%w: what lies there is not a socket (mode %v)", ErrSocketPath, st.Mode())
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
