package stdio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// sendPty plays the runtime: it makes a pty, sends the master to the console
// socket and returns the slave.
func sendPty(t *testing.T, dir, name string) *os.File {
	t.Helper()
	pty, slavePath, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	slave, err := os.OpenFile(slavePath, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	send(t, dir, name, int(pty.Fd()))
	return slave
}

func send(t *testing.T, dir, name string, fds ...int) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, _, err := conn.WriteMsgUnix([]byte("/dev/ptmx"), unix.UnixRights(fds...), nil); err != nil {
		t.Fatal(err)
	}
}

// longDir is a directory whose path alone is longer than a socket's may be.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// terminalOf opens the streams of a process and starts it on a terminal.
func terminalOf(t *testing.T, p Paths) (*Streams, *os.File) {
	t.Helper()
	p.Terminal = true
	s := open(t, p)
	return s, startOnTerminal(t, s)
}

// startOnTerminal starts the process of s on a terminal, whose slave it returns; the
// slave is closed when the test ends.
func startOnTerminal(t *testing.T, s *Streams) *os.File {
	t.Helper()
	dir := longDir(t)
	name, err := s.Listen(dir, "pty.sock")
	if err != nil {
		t.Fatal(err)
	}
	slave := sendPty(t, dir, name)
	if err := s.Started(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("the console socket was left: %v, %v", left, err)
	}
	return slave
}

// printsFreely fails the test if the container blocks on its terminal, though
// nothing is to become of what it prints.
func printsFreely(t *testing.T, slave *os.File, on string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := slave.Write(bytes.Repeat([]byte("x\n"), 1<<19))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Errorf("the container blocks on %s", on)
	}
}

func TestTerminalOutputArrivesWholeThoughTheSlaveClosesFirst(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s, slave := terminalOf(t, p)
	r := attach(t, p.Stdout, os.O_RDONLY)
	want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16) // 1 MiB
	go func() {
		_, _ = slave.Write(want)
		slave.Close()
		s.Ended()
	}()
	got, err := io.ReadAll(r)
	got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived, %v", len(got), len(want), err)
	}
	if !s.Drain(patience) {
		t.Error("not drained after the hang-up")
	}
	if err := s.Resize(80, 25); err != nil {
		t.Errorf("resize after the end: %v", err)
	}
}

// Who lets go of the terminal may come back before the process has ended: what is said
// and typed then arrives, and what was typed in between.
func TestATerminalThatNobodyHasOpenIsNotAtItsEndBeforeTheProcessIs(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	s, slave := terminalOf(t, p)
	path := ptsName(t, s)
	w, r := attach(t, p.Stdin, os.O_WRONLY), attach(t, p.Stdout, os.O_RDONLY)
	for i := range 3 {
		slave.Close()
		// Longer than any relay waits in vain.
		time.Sleep(2 * silentAfter)
		fmt.Fprintf(w, "typed %d\n", i)
		var err error
		if slave, err = os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
			t.Fatalf("open the terminal again: %v", err)
		}
		buf := make([]byte, 16)
		if n, err := slave.Read(buf); err != nil || string(buf[:n]) != fmt.Sprintf("typed %d\n", i) {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		fmt.Fprintf(slave, "said %d\n", i)
		got := make([]byte, len("typed 0\r\nsaid 0\r\n"))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != fmt.Sprintf("typed %d\r\nsaid %d\r\n", i, i) {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	slave.Close()
	s.Ended()
	if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
}

// ptsName is the path of the terminal's slave.
func ptsName(t *testing.T, s *Streams) string {
	t.Helper()
	conn, err := s.term.master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if cerr := conn.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return fmt.Sprintf("/dev/pts/%d", n)
}

// A child that does not die of the hang-up holds the terminal: nothing waits
// for it, and all that was printed before is there. The kernel carries it from
// slave to master in its own time, so this is tried often.
func TestDrainDoesNotWaitForAChildThatHoldsTheTerminal(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s, slave := terminalOf(t, p)
	r := attach(t, p.Stdout, os.O_RDONLY)
	for i := range 500 {
		word := fmt.Sprintf("before %d\r\n", i)
		fmt.Fprintf(slave, "before %d\n", i)
		if !s.Drain(patience) {
			t.Fatal("not drained though all was moved")
		}
		if n := unread(r); n != len(word) {
			t.Fatalf("run %d: drained, but %d bytes of %d are in the fifo", i, n, len(word))
		}
		buf := make([]byte, len(word))
		if _, err := io.ReadFull(r, buf); err != nil || string(buf) != word {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	// More than the terminal holds.
	want := bytes.Repeat([]byte("0123456789abcd\r\n"), 1<<11)
	if _, err := slave.Write(bytes.ReplaceAll(want, []byte("\r"), nil)); err != nil {
		t.Fatal(err)
	}
	if !s.Drain(patience) {
		t.Fatal("not drained though all was moved")
	}
	got := make([]byte, len(want))
	if n := unread(r); n != len(want) {
		t.Errorf("drained, but %d bytes of %d are in the fifo", n, len(want))
	} else if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what arrived is not what was printed: %v", err)
	}
}

func TestTerminalInputReachesTheSlave(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	s, slave := terminalOf(t, p)
	w := attach(t, p.Stdin, os.O_WRONLY)
	fmt.Fprint(w, "hello\n")
	buf := make([]byte, 16)
	if n, err := slave.Read(buf); err != nil || string(buf[:n]) != "hello\n" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	s.CloseStdin()
	w.Close()
	fmt.Fprint(slave, "still there") // the end of stdin is no hang-up
	r := attach(t, p.Stdout, os.O_RDONLY)
	got := make([]byte, len("hello\r\nstill there"))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "hello\r\nstill there" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSizeAskedForBeforeThereIsATerminalIsKept(t *testing.T) {
	s := open(t, Paths{Stdout: mkfifo(t, "out"), Terminal: true})
	if err := s.Resize(132, 43); err != nil {
		t.Fatal(err)
	}
	slave := startOnTerminal(t, s)
	check := func(width, height uint16) {
		ws, err := unix.IoctlGetWinsize(int(slave.Fd()), unix.TIOCGWINSZ)
		if err != nil || ws.Col != width || ws.Row != height {
			t.Errorf("size %+v, %v, want %dx%d", ws, err, width, height)
		}
	}
	check(132, 43)
	if err := s.Resize(80, 24); err != nil {
		t.Fatal(err)
	}
	check(80, 24)
}

func TestTerminalWithoutOutputPathDoesNotBlockTheContainer(t *testing.T) {
	_, slave := terminalOf(t, Paths{})
	printsFreely(t, slave, "a terminal that nobody reads")
}

// EIO is what a broken disk says, too. It is not for the terminal to wait then.
func TestTerminalWithABrokenFileDoesNotBlockTheContainer(t *testing.T) {
	broken, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	s, reports := openLogged(t, Paths{Stdout: path, Terminal: true})
	broken.Close()
	slave := startOnTerminal(t, s)
	printsFreely(t, slave, "a file that cannot be written")
	if err := <-reports; !errors.Is(err, unix.EIO) {
		t.Errorf("reported: %v", err)
	}
}

func TestConsoleSocketTakesNothingButOnePty(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, fds := range map[string][]int{
		"something else": {int(null.Fd())},
		"want 1":         {int(null.Fd()), int(null.Fd())},
	} {
		s := open(t, Paths{Terminal: true})
		dir := longDir(t)
		sock, err := s.Listen(dir, "pty.sock")
		if err != nil {
			t.Fatal(err)
		}
		send(t, dir, sock, fds...)
		if err := s.Started(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A restore that failed may be tried again.
func TestASecondConsoleSocketTakesThePlaceOfTheFirst(t *testing.T) {
	s := open(t, Paths{Stdout: mkfifo(t, "out"), Terminal: true})
	dir := longDir(t)
	if _, err := s.Listen(dir, "first"); err != nil {
		t.Fatal(err)
	}
	name, err := s.Listen(dir, "second")
	if err != nil {
		t.Fatal(err)
	}
	sendPty(t, dir, name)
	if err := s.Started(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a console socket was left: %v, %v", left, err)
	}
}

// Who resizes a terminal or closes its input holds the container's lock, which the
// ends of its processes need.
func TestNobodyWaitsForAMasterThatARuntimeKeepsToItself(t *testing.T) {
	s := open(t, Paths{Terminal: true, Stdin: mkfifo(t, "in")})
	if _, err := s.Listen(t.TempDir(), "pty.sock"); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- s.Started() }()
	time.Sleep(100 * time.Millisecond) // it waits by then; if not, the test is easier
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Resize(80, 25); err != nil {
			t.Error(err)
		}
		s.CloseStdin()
	}()
	select {
	case <-done:
	case <-started:
		t.Fatal("the wait for the master was over first")
	}
	s.Close()
	if err := <-started; err == nil {
		t.Error("without a master it was started")
	}
}
