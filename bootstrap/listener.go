package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoSocket says that descriptor 3 is not what [Start] hands to a shim.
var ErrNoSocket = errors.New("descriptor 3 is not a listening unix socket")

// Listener is the serving shim's socket. Only processes of the same user, or of
// root in the same user namespace, get through Accept.
type Listener struct {
	*net.UnixListener
	path  string
	file  fileID
	conns conns

	once sync.Once // for Close
	err  error     // what Close returned
}

// Listen returns the socket to serve on: the one that [Start] left open as
// descriptor 3, or a new one at -socket. Descriptors 3 and 4 are closed then, so
// that no program started later can inherit them. The caller owns the listener.
// It returns [ErrUnfinished] when [Start] was killed; then no socket is left.
func Listen(f Flags) (*Listener, error) {
	var (
		l   *Listener
		err error
	)
	if f.Socket == "" {
		l, err = inherited(listenFD, wordFD)
	} else {
		l, err = listenAt(f.Socket)
	}
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return l, nil
}

// inherited waits for the word of who started this shim that the socket fd is ready
// and known, then takes fd over. It closes word, and fd too if no word comes.
func inherited(fd, word int) (*Listener, error) {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	if kind != unix.SOCK_STREAM {
		return nil, ErrNoSocket
	}
	if err := awaitWord(word); err == ErrUnfinished {
		return nil, errors.Join(err, abandon(fd))
	} else if err != nil {
		return nil, err
	}
	path, err := boundTo(fd)
	if err != nil {
		return nil, err
	}
	// A start that finds this path sees that we listen and leaves it alone, so
	// what lies there now is ours; unless somebody removed it by hand, which is
	// no reason to stop.
	file, err := fileAt(path)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("find the socket: %w", err)
	}
	return wrap(fd, path, file)
}

func listenAt(path string) (*Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d fit", ErrSocketPath, path, len(path), maxSocketPath)
	}
	s, err := newSocket()
	if err != nil {
		return nil, err
	}
	version, err := claim(path, "", 3, patience, s)
	if err == nil && version != 0 {
		err = fmt.Errorf("listen on %s: %w", path, unix.EADDRINUSE)
	}
	if err != nil {
		unix.Close(s.fd)
		return nil, err
	}
	return wrap(s.fd, s.path, s.file)
}

// abandon closes a socket that nobody was told of, and removes its file if it has
// one. Another start may have found it dead, or not yet listening, and put its own
// there.
func abandon(fd int) error {
	path, err := pathOf(fd)
	unix.Close(fd)
	if err != nil {
		return nil // not bound
	}
	conn, err := connectOrRemove(path)
	if conn != nil {
		conn.Close()
	}
	return err
}

// wrap takes fd over.
func wrap(fd int, path string, file fileID) (*Listener, error) {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false)
	return &Listener{UnixListener: u, path: path, file: file, conns: conns{limit: connLimit()}}, nil
}

// boundTo returns the path that the listening socket fd is bound to.
func boundTo(fd int) (string, error) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	if listening == 0 {
		return "", ErrNoSocket
	}
	return pathOf(fd)
}

// pathOf returns the absolute path that the unix socket fd is bound to.
func pathOf(fd int) (string, error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	at, ok := name.(*unix.SockaddrUnix)
	if !ok {
		return "", ErrNoSocket
	}
	// x/sys shows an abstract name with an @ in place of the NUL.
	if !strings.HasPrefix(at.Name, "/") {
		return "", fmt.Errorf("%w: it is not bound to an absolute path but to %q", ErrNoSocket, at.Name)
	}
	return at.Name, nil
}

// Path is where the socket lies.
func (l *Listener) Path() string { return l.path }

// Accept waits for a connection from somebody who may talk to the shim. Others
// are disconnected without a word, and cost nothing but that. There is a limit to
// how many are open at a time, see conns; the connection is a [frame.Conn].
//
// Every error but that of Close is temporary, as a server may ask it: a server ends at
// the first that is not, and with it a shim that has containers.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			return nil, &acceptError{err}
		}
		raw, err := c.SyscallConn()
		if err == nil {
			if cerr := raw.Control(func(fd uintptr) { err = trust(int(fd)) }); cerr != nil {
				err = cerr
			}
		}
		if err == nil {
			return l.conns.admit(c), nil
		}
		c.Close()
	}
}

// acceptError is why nobody could be accepted this time: too many files, and, which
// package net does not call temporary, no memory in the shim's cgroup, or a security
// module that says no.
type acceptError struct{ error }

func (e *acceptError) Temporary() bool { return true }
func (e *acceptError) Unwrap() error   { return e.error }

// Settle returns when every request that has been read is answered or its connection
// closed, or ctx is done. It may be called after Close.
func (l *Listener) Settle(ctx context.Context) { l.conns.settle(ctx) }

// Close ends the listening and removes the socket's file, if it is still this
// socket's. Connections that have been accepted stay open. Only the first call
// does anything; all return the same.
func (l *Listener) Close() error {
	l.once.Do(func() {
		// First the file, while nobody could take its place, then the socket: a
		// start that comes between finds no file and makes a new shim.
		l.err = errors.Join(removeOwn(l.path, l.file), l.UnixListener.Close())
	})
	return l.err
}
