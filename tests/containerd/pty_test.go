package containerd

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

// terminal is a session of ctr on a pty, whose other end is the user.
type terminal struct {
	*session
	Screen *harness.Output // everything that was shown

	master *os.File
	read   chan struct{} // closed when everything was read
}

// openPTY makes a pty; both ends must be closed.
func openPTY() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	// Not by Fd, which would make the file blocking and its Close useless to a
	// reader.
	conn, err := master.SyscallConn()
	if err != nil {
		return nil, nil, err
	}
	var number int
	if cerr := conn.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); cerr != nil {
		err = cerr
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		err = plainOutput(slave)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("open pty: %w", err)
	}
	return master, slave, nil
}

// plainOutput has a terminal show newlines as they come: the container's has made
// \r\n of them already, and ctr leaves this as it finds it.
func plainOutput(slave *os.File) error {
	conn, err := slave.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := conn.Control(func(fd uintptr) {
		var t *unix.Termios
		if t, err = unix.IoctlGetTermios(int(fd), unix.TCGETS); err == nil {
			t.Oflag &^= unix.ONLCR
			err = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

// onTerminal starts a ctr as a user does, in a session of its own with a
// terminal of that size.
func (d *daemon) onTerminal(rows, cols uint16, args ...string) *terminal {
	d.t.Helper()
	return d.onTerminalWith(d.command(args...), rows, cols, args)
}

// onTerminalWith is onTerminal for a prepared command.
func (d *daemon) onTerminalWith(cmd *exec.Cmd, rows, cols uint16, args []string) *terminal {
	d.t.Helper()
	master, slave, err := openPTY()
	if err != nil {
		d.t.Fatal(err)
	}
	defer slave.Close()
	d.t.Cleanup(func() { master.Close() })
	s := &terminal{Screen: &harness.Output{}, master: master, read: make(chan struct{})}
	s.resize(d.t, rows, cols)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if s.session, err = d.launch(cmd, args); err != nil {
		d.t.Fatal(err)
	}
	s.Out = s.Screen
	go func() {
		defer close(s.read)
		io.Copy(s.Screen, master) // ends with EIO when ctr has ended
	}()
	return s
}

// keys types on the terminal.
func (s *terminal) keys(text string) {
	s.d.t.Helper()
	if _, err := io.WriteString(s.master, text); err != nil {
		s.d.t.Fatal(err)
	}
}

// resize gives the terminal another size, as a user does who drags its window:
// the kernel tells ctr by SIGWINCH.
func (s *terminal) resize(t *testing.T, rows, cols uint16) {
	t.Helper()
	conn, err := s.master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := conn.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// shown waits for ctr's end and returns everything that was on the screen.
func (s *terminal) shown() (screen string, code int) {
	s.d.t.Helper()
	code = s.code()
	<-s.read
	return s.Screen.String(), code
}
