package process

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/reaper"
)

// The runtime's init may be killed before its create is done. Its client waits for the
// end of its terminal all the same.
func TestATerminalEndsThoughItsProcessEndedBeforeTheStdioWasKnown(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := unix.Mkfifo(out, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := os.OpenFile(out, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := stdio.Open(t.Context(), stdio.Paths{Stdout: out, Terminal: true}, stdio.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	name, err := s.Listen(dir, "pty")
	if err != nil {
		t.Fatal(err)
	}
	slave := sendPty(t, filepath.Join(dir, name))
	if err := s.Started(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(slave, "last words")
	slave.Close()

	p := New("c1", true, stdio.Paths{})
	p.Ended(reaper.Exit{Status: 137})
	if err := p.Opened(s); err != nil {
		t.Fatal(err)
	}
	if err := r.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "last words" {
		t.Errorf("%q, %v", got, err)
	}
}

// sendPty plays the runtime.
func sendPty(t *testing.T, socket string) *os.File {
	t.Helper()
	pty, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err := conn.WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(int(pty.Fd())), nil); err != nil {
		t.Fatal(err)
	}
	return slave
}
