package stdio

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// consoleWait bounds the wait for a pty's master after the runtime said that
// it is done: it has sent it by then.
const consoleWait = 10 * time.Second

type winsize struct{ width, height uint16 }

// terminal is the master of a process's pty.
type terminal struct {
	master *os.File // non-blocking; read by one relay and written by another
	pty    console.Console
}

func (t *terminal) resize(size winsize) error {
	err := t.pty.Resize(console.WinSize{Width: size.width, Height: size.height})
	if err != nil {
		return fmt.Errorf("resize the terminal: %w", err)
	}
	return nil
}

func (t *terminal) close() { t.master.Close() }

// consoleSocket is where the runtime sends a pty's master to.
type consoleSocket struct {
	l    *net.UnixListener
	path string
}

// Listen makes the console socket <dir>/<name> and returns the name, which
// the runtime, run in dir, is to be given. A path from the root is often
// longer than the 107 bytes a socket's may have, so it is bound by way of the
// directory's descriptor.
func (s *Streams) Listen(dir, name string) (string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return "", fmt.Errorf("make a console socket: %w", err)
	}
	defer d.Close()
	path := filepath.Join(dir, name)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("make a console socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: "/proc/self/fd/" + strconv.Itoa(int(d.Fd())) + "/" + name, Net: "unix"})
	if err != nil {
		return "", fmt.Errorf("make a console socket in %s: %w", dir, err)
	}
	l.SetUnlinkOnClose(false) // the descriptor in its name will be gone
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return "", fmt.Errorf("make a console socket: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeSocketLocked() // of a start that failed
	s.socket = &consoleSocket{l: l, path: path}
	return name, nil
}

func (s *Streams) closeSocketLocked() {
	if s.socket != nil {
		s.socket.l.Close()
		os.Remove(s.socket.path)
		s.socket = nil
	}
}

// accept takes the master that the runtime has sent.
func (c *consoleSocket) accept() (*terminal, error) {
	deadline := time.Now().Add(consoleWait)
	if err := c.l.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("receive the pty's master: %w", err)
	}
	conn, err := c.l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("receive the pty's master: the runtime sent none: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("receive the pty's master: %w", err)
	}
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := conn.ReadMsgUnix(name, oob)
	if err != nil {
		return nil, fmt.Errorf("receive the pty's master: %w", err)
	}
	fds, err := rights(oob[:n])
	if err != nil {
		return nil, err
	}
	if len(fds) != 1 {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("receive the pty's master: the runtime sent %d descriptors, want 1", len(fds))
	}
	return newTerminal(fds[0])
}

// rights are the descriptors in a control message. They are the caller's.
func rights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive the pty's master: %w", err)
	}
	var fds []int
	for i := range msgs {
		if len(msgs[i].Data)%4 != 0 {
			continue // no kernel makes one, and the parser does not bear it
		}
		got, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // another kind of control message
		}
		fds = append(fds, got...)
	}
	return fds, nil
}

// newTerminal takes over fd, also on failure.
func newTerminal(fd int) (*terminal, error) {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("receive the pty's master: %w", err)
	}
	master := os.NewFile(uintptr(fd), "pty master")
	pty, err := console.ConsoleFromFile(master)
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("receive the pty's master: the runtime sent something else: %w", err)
	}
	return &terminal{master: master, pty: pty}, nil
}
