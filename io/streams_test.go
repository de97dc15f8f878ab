package stdio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

const patience = 30 * time.Second

func mkfifo(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, p Paths) *Streams {
	t.Helper()
	s, err := Open(t.Context(), p, Setup{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// attach opens a fifo as a client does.
func attach(t *testing.T, path string, flag int) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return f
}

// child is the container's side of s, duplicated as a fork would.
func child(t *testing.T, s *Streams) [3]*os.File {
	t.Helper()
	var files [3]*os.File
	in, out, errf := s.Child()
	for i, f := range []*os.File{in, out, errf} {
		if f == nil {
			continue
		}
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		files[i] = os.NewFile(uintptr(fd), "container's")
		t.Cleanup(func() { files[i].Close() })
	}
	if err := s.Started(); err != nil {
		t.Fatal(err)
	}
	return files
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

// end waits for a relay's end.
func end(t *testing.T, r *relay) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		t.Fatal("the relay did not end")
	}
}

func TestEveryByteOfBothOutputsArrivesAndThenEOF(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
	s := open(t, p)
	c := child(t, s)
	want := pattern(5 << 20)
	type result struct {
		path string
		got  []byte
		err  error
	}
	results := make(chan result)
	for i, path := range []string{p.Stdout, p.Stderr} {
		r := attach(t, path, os.O_RDONLY)
		go func() {
			got, err := io.ReadAll(r)
			results <- result{path, got, err}
		}()
		go func() {
			_, _ = c[1+i].Write(want)
			c[1+i].Close()
		}()
	}
	for range 2 {
		if r := <-results; r.err != nil || !bytes.Equal(r.got, want) {
			t.Errorf("%s: %d bytes of %d arrived, %v", r.path, len(r.got), len(want), r.err)
		}
	}
}

func TestOutputsMayShareOneFifo(t *testing.T) {
	path := mkfifo(t, "both")
	c := child(t, open(t, Paths{Stdout: path, Stderr: path}))
	r := attach(t, path, os.O_RDONLY)
	fmt.Fprint(c[1], "a")
	fmt.Fprint(c[2], "b")
	c[1].Close()
	c[2].Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "ab" && string(got) != "ba" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOneStreamAloneIsEnough(t *testing.T) {
	for i, p := range []Paths{{Stdout: mkfifo(t, "out")}, {Stderr: mkfifo(t, "err")}} {
		c := child(t, open(t, p))
		if (c[1] != nil) != (i == 0) || (c[2] != nil) != (i == 1) || c[0] != nil {
			t.Fatalf("case %d: wrong descriptors %v", i, c)
		}
		r := attach(t, p.Stdout+p.Stderr, os.O_RDONLY)
		fmt.Fprint(c[1+i], "x")
		c[1+i].Close()
		if got, err := io.ReadAll(r); err != nil || string(got) != "x" {
			t.Errorf("case %d: %q, %v", i, got, err)
		}
	}
}

func TestNothingIsLostWhileTheReaderIsAway(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	first := attach(t, p.Stdout, os.O_RDONLY)
	fmt.Fprint(c[1], "1")
	if _, err := io.ReadFull(first, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	first.Close() // the daemon dies
	want := pattern(20_000)
	if _, err := c[1].Write(want); err != nil {
		t.Fatalf("the container suffers from the reader's absence: %v", err)
	}
	c[1].Close() // and the process ends meanwhile
	if !s.Drain(patience) {
		t.Fatal("not drained")
	}
	end(t, s.outputs[0].r)
	second := attach(t, p.Stdout, os.O_RDONLY)
	if got, err := io.ReadAll(second); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived, %v", len(got), len(want), err)
	}
}

func TestDrainDoesNotWaitForAChildThatHoldsTheStream(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	r := attach(t, p.Stdout, os.O_RDONLY)
	fmt.Fprint(c[1], "before")
	if !s.Drain(patience) {
		t.Fatal("not drained though all was moved")
	}
	if n := unread(r); n != len("before") {
		t.Errorf("drained, but %d bytes are in the fifo", n)
	}
	fmt.Fprint(c[1], " after") // the background child
	c[1].Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "before after" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A child that writes all the time, faster than the reader reads, leaves neither
// pipe nor fifo empty for a moment.
func TestDrainDoesNotWaitForAChildThatNeverStops(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	r := attach(t, p.Stdout, os.O_RDONLY)
	go func() {
		for b := pattern(1 << 20); ; {
			if _, err := c[1].Write(b); err != nil {
				return // the test is over
			}
		}
	}()
	until(t, "fifo and pipe are full", func() bool { return !s.Drain(time.Millisecond) })
	drained := make(chan bool, 1)
	go func() { drained <- s.Drain(patience) }()
	// What was there is read, and not much more: on a busy machine Drain may begin when
	// some was read already. And never so fast that the fifo becomes nearly empty.
	const enough = (2*bigPipe + 4*uncounted) / pageSize
	for range 4 * enough {
		select {
		case ok := <-drained:
			if !ok {
				t.Error("not drained though all was read that had been written")
			}
			return
		default:
		}
		if _, err := io.ReadFull(r, make([]byte, pageSize)); err != nil {
			t.Fatal(err)
		}
		until(t, "the fifo is full again", func() bool { return unread(r) > pipeSize(t, r)/2 })
	}
	if !<-drained {
		t.Error("not drained though all was read that had been written")
	}
}

func TestDrainGivesUpAtItsLimitWhenNobodyReads(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	const size = 3 << 20 // more than pipe and fifo hold together
	wrote := make(chan error, 1)
	go func() {
		_, err := c[1].Write(pattern(size))
		wrote <- err
	}()
	r := attach(t, p.Stdout, os.O_RDONLY)
	src := s.outputs[0].r.src
	for deadline := time.Now().Add(patience); unread(r) < 1<<16 || unread(src) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("fifo and pipe did not fill")
		}
		runtime.Gosched()
	}
	if s.Drain(time.Millisecond) {
		t.Error("Drain says that all was moved, with a full fifo and nobody reading")
	}
	if _, err := io.ReadFull(r, make([]byte, size)); err != nil {
		t.Errorf("the reader came back: %v", err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("the container's write failed: %v", err)
	}
}

func TestStdinEndsOnlyWhenItIsClosedHereAndThere(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in")}
	s := open(t, p)
	c := child(t, s)
	for _, word := range []string{"one", "two"} { // the writer goes away and comes back
		w := attach(t, p.Stdin, os.O_WRONLY)
		fmt.Fprint(w, word)
		w.Close()
		buf := make([]byte, 3)
		if _, err := io.ReadFull(c[0], buf); err != nil || string(buf) != word {
			t.Fatalf("got %q, %v", buf, err)
		}
	}
	w := attach(t, p.Stdin, os.O_WRONLY)
	s.CloseStdin()
	fmt.Fprint(w, "three")
	w.Close()
	if got, err := io.ReadAll(c[0]); err != nil || string(got) != "three" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStdinClosedBeforeTheStartIsEOFAfterItsBytes(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in")}
	s := open(t, p)
	w := attach(t, p.Stdin, os.O_WRONLY)
	fmt.Fprint(w, "x")
	w.Close()
	s.CloseStdin()
	c := child(t, s)
	if got, err := io.ReadAll(c[0]); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestStdinOfAProcessThatEndsUnreadIsLetGo(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in")}
	s := open(t, p)
	in := s.stdin
	c := child(t, s)
	w := attach(t, p.Stdin, os.O_WRONLY)
	go func() { _, _ = w.Write(pattern(1 << 20)) }()
	c[0].Close()
	end(t, in.r)
}

func TestFileGetsBothOutputsAppended(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "log")
	for range 2 {
		s := open(t, Paths{Stdout: "file://" + path, Stderr: "file://" + path})
		c := child(t, s)
		fmt.Fprint(c[1], "x")
		fmt.Fprint(c[2], "x")
		c[1].Close()
		c[2].Close()
		if !s.Drain(patience) {
			t.Fatal("not drained")
		}
		s.Close()
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "xxxx" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestPathsThatCannotBeUsedAreNamed(t *testing.T) {
	for _, c := range []struct {
		p    Paths
		want string
	}{
		{Paths{Stdout: "relative"}, "stdout"},
		{Paths{Stderr: "ftp://host/x"}, `scheme "ftp"`},
		{Paths{Stdin: "file:///x"}, "stdin"},
		{Paths{Stdout: "/a\x00b"}, "NUL"},
		{Paths{Stdout: "://"}, "stdout"},
	} {
		_, err := Open(t.Context(), c.p, Setup{})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want ErrInvalid with %q", c.p, err, c.want)
		}
	}
	for _, p := range []Paths{{Stdout: "/nonexistent/fifo"}, {Stderr: "/nonexistent/fifo"}, {Stdin: "/nonexistent/fifo"}} {
		if _, err := Open(t.Context(), p, Setup{}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("missing fifo: %v", err)
		}
	}
	if _, err := Open(t.Context(), Paths{Stdout: t.TempDir()}, Setup{}); !errors.Is(err, unix.EISDIR) {
		t.Errorf("a directory: %v", err)
	}
}

// As with containerd's own shim; clients that want no fifos do this.
func TestFilesMayStandInForFifos(t *testing.T) {
	dir := t.TempDir()
	p := Paths{Stdin: filepath.Join(dir, "in"), Stdout: filepath.Join(dir, "out"), Stderr: os.DevNull}
	want := pattern(300_000)
	for path, content := range map[string][]byte{p.Stdin: want, p.Stdout: []byte("before ")} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, p)
	c := child(t, s)
	s.CloseStdin()
	if got, err := io.ReadAll(c[0]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("stdin: %d bytes of %d, %v", len(got), len(want), err)
	}
	fmt.Fprint(c[1], "after")
	fmt.Fprint(c[2], "nothing")
	if !s.Drain(patience) {
		t.Fatal("not drained")
	}
	if got, err := os.ReadFile(p.Stdout); err != nil || string(got) != "before after" {
		t.Errorf("stdout %q, %v", got, err)
	}
}

// What a runtime says about its own failure is for its error.
func TestWhatIsWrittenBeforeTheProcessRunsIsHeldBack(t *testing.T) {
	for i := range 200 { // a relay that does not wait is not always the quicker
		started := i%2 == 0
		p := Paths{Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
		s := open(t, p)
		r := attach(t, p.Stderr, os.O_RDONLY)
		_, _, w := s.Child()
		fmt.Fprint(w, "no such program")
		runtime.Gosched()
		if started {
			if err := s.Started(); err != nil {
				t.Fatal(err)
			}
		} else {
			if got := s.Unmoved(); string(got) != "no such program" {
				t.Fatalf("the runtime's words: %q", got)
			}
			s.Close()
		}
		got, err := io.ReadAll(r)
		want := ""
		if started {
			want = "no such program"
		}
		if err != nil || string(got) != want {
			t.Errorf("started %v: stderr %q, %v", started, got, err)
		}
	}
}

// A restore that failed may be tried again.
func TestStreamsOfAStartThatFailedServeTheNext(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	s := open(t, p)
	_, w, _ := s.Child()
	fmt.Fprint(w, "the runtime fails")
	s.Unmoved()
	c := child(t, s)
	in, out := attach(t, p.Stdin, os.O_WRONLY), attach(t, p.Stdout, os.O_RDONLY)
	fmt.Fprint(in, "in")
	in.Close()
	s.CloseStdin()
	if got, err := io.ReadAll(c[0]); err != nil || string(got) != "in" {
		t.Errorf("stdin %q, %v", got, err)
	}
	fmt.Fprint(c[1], "out")
	c[1].Close()
	if got, err := io.ReadAll(out); err != nil || string(got) != "out" {
		t.Errorf("stdout %q, %v", got, err)
	}
}

func TestARuntimeThatSaysMoreThanAPipeHoldsIsNotLeftWaiting(t *testing.T) {
	p := Paths{Stderr: mkfifo(t, "err")}
	s := open(t, p)
	r := attach(t, p.Stderr, os.O_RDONLY)
	_, _, w := s.Child()
	want := pattern(300_000)
	go func() {
		_, _ = w.Write(want)
		_ = s.Started()
	}()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d arrived, %v", len(got), len(want), err)
	}
}

// A restore that failed may be tried again, with the same stdio.
func TestARuntimeThatFailedMayBeCalledAgain(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	s := open(t, p)
	in, out := attach(t, p.Stdin, os.O_WRONLY), attach(t, p.Stdout, os.O_RDONLY)
	_, w, _ := s.Child()
	fmt.Fprint(w, "failed")
	if got := s.Unmoved(); string(got) != "failed" {
		t.Errorf("the runtime's words: %q", got)
	}
	c := child(t, s)
	want := pattern(300_000)
	go func() {
		_, _ = in.Write(want)
		in.Close()
		s.CloseStdin()
	}()
	if got, err := io.ReadAll(c[0]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("stdin: %d bytes of %d arrived, %v", len(got), len(want), err)
	}
	go func() {
		_, _ = c[1].Write(want)
		c[1].Close()
	}()
	if got, err := io.ReadAll(out); err != nil || !bytes.Equal(got, want) {
		t.Errorf("stdout: %d bytes of %d arrived, %v", len(got), len(want), err)
	}
	s.Wait()

	s = open(t, Paths{Terminal: true})
	dir := longDir(t)
	for _, name := range []string{"pty-1", "pty-2"} {
		if _, err := s.Listen(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	sendPty(t, dir, "pty-2")
	if err := s.Started(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("a console socket was left: %v, %v", left, err)
	}
}

// A child of a deleted exec goes on when its last reader has gone.
func TestAfterReleaseTheRestIsThrownAwayWhenTheLastReaderHasGone(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	r := attach(t, p.Stdout, os.O_RDONLY)
	s.Release()
	fmt.Fprint(c[1], "heard")
	if _, err := io.ReadFull(r, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	const size = 4 << 20 // more than all pipes hold
	if err := c[1].SetWriteDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		t.Fatal(err)
	}
	if n, err := c[1].Write(pattern(size)); n != size {
		t.Errorf("%d bytes of %d were written: %v", n, size, err)
	}
	c[1].Close()
	s.Wait()
}

// Nor is a stream kept whose reader is gone for good with bytes unread.
func TestAfterReleaseAFullFifoWithoutReaderIsGivenUp(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	wrote := make(chan error, 1)
	go func() {
		_, err := c[1].Write(pattern(3 << 20))
		c[1].Close()
		wrote <- err
	}()
	until(t, "fifo and pipe are full", func() bool { return !s.Drain(time.Millisecond) })
	s.Release()
	if err := <-wrote; err != nil {
		t.Error(err)
	}
	s.Wait()
}

// A full disk neither blocks the container nor kills it.
func TestAFileThatCannotBeWrittenIsReportedOnce(t *testing.T) {
	set, reports := logged()
	s, err := Open(t.Context(), Paths{Stdout: "/dev/full"}, set)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := child(t, s)
	if _, err := c[1].Write(pattern(1 << 20)); err != nil {
		t.Error(err)
	}
	c[1].Close()
	s.Wait()
	if err := <-reports; !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("reported: %v", err)
	}
	select {
	case err := <-reports:
		t.Errorf("reported again: %v", err)
	default:
	}
}

// Nor does a disk that is broken. EIO is what it says, and what a terminal that has gone
// says to who writes.
func TestABrokenFileIsReportedAndNoEndOfTheContainers(t *testing.T) {
	pty, path, err := console.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	set, reports := logged()
	s, err := Open(t.Context(), Paths{Stdout: path}, set)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := child(t, s)
	pty.Close()
	for range 3 {
		if _, err := c[1].Write(pattern(1 << 18)); err != nil {
			t.Fatal(err)
		}
	}
	c[1].Close()
	s.Wait()
	if err := <-reports; !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), path) {
		t.Errorf("reported: %v", err)
	}
}

// A file on a server that does not answer may take any time to be closed. Who resizes a
// terminal, and who tells of a process's end, has the container's lock, and the reaper
// wants that for the ends of others.
func TestNobodyWaitsForAFileThatIsSlowToClose(t *testing.T) {
	for _, end := range []struct {
		name  string
		close func(s *Streams, container *os.File)
	}{
		{"the stream's end", func(_ *Streams, container *os.File) { container.Close() }},
		{"Close", func(s *Streams, _ *os.File) { s.Close() }},
	} {
		path := filepath.Join(t.TempDir(), "log")
		s := open(t, Paths{Stdout: "file://" + path})
		s.outputs[0].file.Close()
		slow, fd, free := slowToClose(t)
		s.outputs[0].file, s.outputs[0].r.dst = slow, slow
		container := child(t, s)[1]
		if err := s.Started(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			end.close(s, container)
			s.Wait()
		}()
		// The number is free before the close is over. To ask the file would be to close it.
		until(t, "the file is being closed", func() bool { _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); return err != nil })
		called := make(chan struct{})
		go func() {
			defer close(called)
			s.Ended()
			if err := s.Resize(80, 25); err != nil {
				t.Error(err)
			}
			s.CloseStdin()
		}()
		select {
		case <-called:
		case <-done:
			t.Errorf("%s: the file was closed first", end.name)
		}
		free()
		<-done
		<-called
	}
}

// slowToClose is a socket that waits, when it is closed, for somebody who reads what was
// written to it. Whoever that is has gone after free.
func slowToClose(t *testing.T) (f *os.File, fd int, free func()) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f = os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: l.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	free = func() { peer.Close() }
	t.Cleanup(free) // first
	for err == nil {
		err = unix.Sendto(fd, make([]byte, 1<<16), unix.MSG_DONTWAIT, nil)
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 30}); err != nil {
		t.Fatal(err)
	}
	return f, fd, free
}

func TestOwnerOfThePipes(t *testing.T) {
	s, err := Open(t.Context(), Paths{Stdout: mkfifo(t, "out")}, Setup{Owner: Owner{UID: 1234, GID: 4321}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, out, _ := s.Child()
	var st unix.Stat_t
	if err := unix.Fstat(int(out.Fd()), &st); err != nil || st.Uid != 1234 || st.Gid != 4321 {
		t.Errorf("owner %d:%d, %v", st.Uid, st.Gid, err)
	}
}

func TestCloseLeavesNoDescriptor(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
	before := countFds()
	for i := range 100 {
		s, err := Open(t.Context(), p, Setup{})
		if err != nil {
			t.Fatal(err)
		}
		in := s.stdin
		if i%2 == 0 {
			s.Child()
			if err := s.Started(); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		if i%2 == 0 {
			end(t, in.r)
			end(t, s.outputs[0].r)
			end(t, s.outputs[1].r)
		}
	}
	// Somebody may look whether a reader waits, for a moment after the end (knock).
	until(t, "no descriptor is left", func() bool { return countFds() <= before })
}

// An exec that its runtime could not start is deleted too.
func TestDrainDoesNotWaitForAProcessThatNeverCameToBe(t *testing.T) {
	for _, p := range []Paths{
		{Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")},
		{Stdout: mkfifo(t, "terminal"), Terminal: true},
		{Stdout: "file://" + filepath.Join(t.TempDir(), "file")},
	} {
		s := open(t, p)
		if !s.Drain(patience) {
			t.Errorf("%+v: Drain waits", p)
		}
	}
}

// Containerd opens its end in a goroutine of its own, which waits for a writer in
// the kernel, and that may come to run when all is over.
func TestAReaderThatComesWhenTheStreamIsOverIsLetIn(t *testing.T) {
	for _, text := range []string{"", "said before it came"} {
		p := Paths{Stdout: mkfifo(t, "out")}
		s := open(t, p)
		c := child(t, s)
		fmt.Fprint(c[1], text)
		c[1].Close()
		end(t, s.outputs[0].r)
		s.Wait() // the writing end is gone
		got := make(chan string, 1)
		go func() {
			f, err := os.OpenFile(p.Stdout, os.O_RDONLY, 0) // waits for a writer
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			b, err := io.ReadAll(f)
			if err != nil {
				t.Error(err)
			}
			got <- string(b)
		}()
		select {
		case g := <-got:
			if g != text {
				t.Errorf("got %q, want %q", g, text)
			}
		case <-time.After(patience):
			t.Errorf("%q: the reader waits still", text)
			if w, err := os.OpenFile(p.Stdout, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				w.Close()
			}
		}
	}
}
