package stdio

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pipeSize(t *testing.T, f *os.File) int {
	t.Helper()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	err = conn.Control(func(fd uintptr) { size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) })
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// until waits for what no event tells of.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to be: %s", what)
		}
	}
}

func TestPipesAreLargeOnlyWhileTheirStreamIsBusy(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	o := s.outputs[0]
	o.r.calm = 100 * time.Millisecond
	c := child(t, s)
	r := attach(t, p.Stdout, os.O_RDONLY)
	want := pattern(8 << 20)
	for round := range 2 {
		fmt.Fprint(c[1], "a line")
		if _, err := io.ReadFull(r, make([]byte, len("a line"))); err != nil {
			t.Fatal(err)
		}
		if pipe, fifo := pipeSize(t, o.r.src), pipeSize(t, r); pipe != smallPipe || fifo != smallPipe {
			t.Errorf("round %d: a line made the pipe %d and the fifo %d bytes large", round, pipe, fifo)
		}
		go func() { _, _ = c[1].Write(want) }()
		got := make([]byte, len(want))
		half := len(want) / 2
		if _, err := io.ReadFull(r, got[:half]); err != nil {
			t.Fatal(err)
		}
		// With nobody reading the other half fills what there is.
		until(t, "both are large and full", func() bool {
			return unread(o.r.src) == bigPipe && unread(r) == bigPipe
		})
		if _, err := io.ReadFull(r, got[half:]); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: not what was written, %v", round, err)
		}
		until(t, "both are small again", func() bool {
			return pipeSize(t, o.r.src) == smallPipe && pipeSize(t, r) == smallPipe
		})
	}
}

func TestFifoThatIsNotReadKeepsItsBytesWhenItsStreamFallsSilent(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	o := s.outputs[0]
	o.r.calm = time.Millisecond
	c := child(t, s)
	want := pattern(bigPipe / 2)
	if _, err := c[1].Write(want); err != nil {
		t.Fatal(err)
	}
	// The pipe is empty and shrinks; the fifo cannot.
	until(t, "the pipe is small again", func() bool { return unread(o.r.src) == 0 && pipeSize(t, o.r.src) == smallPipe })
	r := attach(t, p.Stdout, os.O_RDONLY)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("not what was written, %v", err)
	}
	// It has been silent all along.
	until(t, "the fifo is small again", func() bool { return pipeSize(t, r) == smallPipe })
}

// Each splice takes a slot of the fifo at least, so that a fifo of 64 KiB
// would be full of sixteen short lines.
func TestFifoThatIsNotReadIsPackedWithLines(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	r := attach(t, p.Stdout, os.O_RDONLY)
	var want bytes.Buffer
	for i := range 1000 {
		line := fmt.Sprintf("line %d\n", i)
		want.WriteString(line)
		fmt.Fprint(c[1], line)
		if !s.Drain(patience) {
			t.Fatalf("line %d does not find room", i)
		}
	}
	if n := unread(r); n != want.Len() {
		t.Errorf("the fifo holds %d bytes, want %d", n, want.Len())
	}
	if size := pipeSize(t, r); size != smallPipe {
		t.Errorf("it grew to %d bytes for that", size)
	}
	got := make([]byte, want.Len())
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want.Bytes()) {
		t.Errorf("not what was written, %v", err)
	}
}

// fs.pipe-user-pages-soft counts all pipes of a user who has no privilege, as
// root in a container or in a rootless shim has none.
func TestPipeGrowsAsFarAsTheLimitsLetIt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("becoming a user without privilege needs root")
	}
	// Users belong to threads in the kernel. This one ends with the test, if
	// it does not get its user back.
	runtime.LockOSThread()
	const nobody = 65534
	become := func(uid int) {
		t.Helper()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	become(nobody)
	var sizes []int
	for range 100 { // 64 of 1 MiB are what the limit allows by default
		r, w, err := pipe(true, Owner{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		conn, err := r.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		enlarge(conn)
		sizes = append(sizes, pipeSize(t, r))
		if _, err := w.WriteString("works"); err != nil {
			t.Fatal(err)
		}
	}
	become(0)
	runtime.UnlockOSThread()
	if first, last := sizes[0], sizes[len(sizes)-1]; first != bigPipe || last >= bigPipe {
		t.Errorf("the first pipe has %d bytes, the last %d: not as the limit has it", first, last)
	}
}

// ctr 1.6 closes its end when Delete answers.
func TestDrainWaitsForAReaderThatIsBehindByMoreThanAFifoHolds(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	o := s.outputs[0]
	for _, end := range []*os.File{o.r.src, o.fifo.w} { // as a busy stream does
		conn, err := end.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if enlarge(conn) == 0 {
			t.Fatal("the kernel enlarges no pipe")
		}
	}
	want := pattern(bigPipe / 2)
	if _, err := c[1].Write(want); err != nil {
		t.Fatal(err)
	}
	c[1].Close()
	end(t, o.r)
	if s.Drain(time.Millisecond) {
		t.Error("drained with half a MiB unread")
	}
	r := attach(t, p.Stdout, os.O_RDONLY)
	got := make([]byte, len(want)-smallPipe)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	if !s.Drain(patience) {
		t.Error("not drained though no more is unread than a fifo holds")
	}
}
