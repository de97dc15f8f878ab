package bootstrap

import (
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
// descriptor 3, or a new one at -socket. Descriptor 3 is closed then, so that no
// program started later can inherit it. The caller owns the listener.
func Listen(f Flags) (*Listener, error) {
	var (
		l   *Listener
		err error
	)
	if f.Socket == "" {
		l, err = inherited(listenFD)
	} else {
		l, err = listenAt(f.Socket)
	}
	if err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return l, nil
}

func inherited(fd int) (*Listener, error) {
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
	s, _, err := claim(path, "", 3, patience)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("listen on %s: %w", path, unix.EADDRINUSE)
	}
	return wrap(s.fd, s.path, s.file)
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

// boundTo returns the path that the listening stream socket fd is bound to.
func boundTo(fd int) (string, error) {
	listening, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	at, ok := name.(*unix.SockaddrUnix)
	if !ok || listening == 0 || kind != unix.SOCK_STREAM {
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
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
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
