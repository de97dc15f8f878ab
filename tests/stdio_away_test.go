package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A container that writes while nobody reads: containerd 9342, 11511. The
// policy is docs/stdio.md's.
func TestAContainerWritesTwoMegabytesWhileTheDaemonIsDownAndLosesNone(t *testing.T) {
	d := harness.New(t)
	words := newShare(t, d)
	const numbers = 300_000 // a little less than 2 MiB of them
	seq := fmt.Sprintf("seq 1 %d; ", numbers)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", until("go") + seq + "touch /share/first; " + seq + "touch /share/second; exit 5"},
		Edit: words.into,
	})
	fifo := c.IO.Stdout
	pid := c.Start()
	d.Down()
	words.say(t, "go")
	words.await("first")

	// The second time there is no room: it waits, with both ends full.
	pipe := fmt.Sprintf("/proc/%d/fd/1", pid)
	held := awaitFull(d, pipe, fifo)
	room := pipeCapacity(t, pipe) + pipeCapacity(t, fifo)
	if words.said("second") {
		t.Error("it did not wait for a reader")
	}
	// Both are as large as they may be, and packed: at most a page of each is
	// not used.
	t.Logf("%d bytes in the kernel", held)
	if want := 2 * largestPipe(t); room != want {
		t.Errorf("pipe and fifo are %d bytes large, want %d", room, want)
	}
	if held < room-2*os.Getpagesize() || held > room {
		t.Errorf("they hold %d bytes", held)
	}

	d.Up()
	if got := c.Wait(); got != 5 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	var want bytes.Buffer
	for range 2 {
		for n := range numbers {
			fmt.Fprintln(&want, n+1)
		}
	}
	if got := c.Out.Bytes(); !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%d bytes arrived, want %d; the last are %q", len(got), want.Len(), tail(got))
	}
}

// A container that has ended is deleted while more is under way than the fifo
// holds: the rest, still in its pipe or terminal, is for the reader all the same.
func TestDeleteWaitsForAReaderThatComesLate(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		size := largestPipe(t) + 1000 // the rest is in the container's pipe
		if terminal {
			// What a terminal gives does not fill every page of a fifo. Delete
			// waits when more is unread than a fifo holds that was not enlarged.
			if size < 256<<10 {
				t.Log("not with a terminal: pipes may not grow here")
				continue
			}
			size /= 2
		}
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t, drainForever)
			fifo := mkfifo(t, d, "out")
			a := mustAsk(t, d, request{
				id: "l", stdout: fifo, terminal: terminal,
				args: []string{"sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size)},
			})
			a.start()
			if got := a.wait(); got != 0 {
				t.Errorf("status %d", got)
			}
			deleted := a.deleteInPassing()
			r := &reader{t: t, d: d, path: fifo}
			r.open()
			if err := <-deleted; err != nil {
				t.Error(err)
			}
			a.leave()
			r.is(strings.Repeat("x", size))
		})
	}
}

// Short lines take a slot of a pipe each, if one is careless.
func TestAThousandLinesWithoutAReaderDoNotBlockTheContainer(t *testing.T) {
	d := harness.New(t)
	words := newShare(t, d)
	// Slow enough for the shim to move every line by itself.
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", until("go") + "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); echo line $i; [ $((i%10)) = 0 ] && sleep 0.001; done; touch /share/wrote"},
		Edit: words.into,
	})
	fifo := c.IO.Stdout
	c.Start()
	d.Down()
	words.say(t, "go")
	words.await("wrote")
	size := pipeCapacity(t, fifo)
	d.Up()
	c.Wait()
	c.Delete()
	if n := strings.Count(c.Out.String(), "line "); n != 1000 {
		t.Errorf("%d lines", n)
	}
	if size != 64<<10 {
		t.Errorf("9 KB of lines needed a fifo of %d bytes", size)
	}
}

// awaitFull waits until neither of two pipes takes any more and returns how many
// bytes they hold together.
func awaitFull(d *harness.Daemon, pipe, fifo string) (held int) {
	d.Eventually("the kernel to be full", func() error {
		inPipe, pipeFull, err := pipeState(pipe)
		if err != nil {
			return err
		}
		inFifo, fifoFull, err := pipeState(fifo)
		if err != nil {
			return err
		}
		if !pipeFull || !fifoFull {
			return fmt.Errorf("pipe %d bytes, full %v; fifo %d bytes, full %v", inPipe, pipeFull, inFifo, fifoFull)
		}
		held = inPipe + inFifo
		return nil
	})
	return held
}

// largestPipe is how large a pipe the kernel lets this user have, up to 1 MiB: see
// fs.pipe-max-size and fs.pipe-user-pages-soft.
func largestPipe(t *testing.T) int {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for size := 1 << 20; size > 64<<10; size /= 2 {
		if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, size); err == nil {
			return size
		}
	}
	return 64 << 10
}

func pipeCapacity(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return size
}

// EPIPE, and death by SIGPIPE, when the daemon restarts: rust-extensions 276.
func TestWritesSucceedWhileTheDaemonRestarts(t *testing.T) {
	d := harness.New(t)
	words := newShare(t, d)
	const lives = 3
	var script, want strings.Builder
	for i := range lives {
		fmt.Fprintf(&script, "%secho %d || touch /share/failed; echo %d >&2; touch /share/echoed%d; ", until(fmt.Sprint("go", i)), i, i, i)
		fmt.Fprintln(&want, i)
	}
	c := d.CreateWant(harness.Want{Args: []string{"sh", "-c", script.String()}, Edit: words.into})
	c.Start()
	for i := range lives {
		d.Down()
		words.say(t, fmt.Sprint("go", i))
		words.await(fmt.Sprint("echoed", i))
		d.Up()
	}
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if words.said("failed") {
		t.Error("a write failed")
	}
	if c.Out.String() != want.String() || c.Err.String() != want.String() {
		t.Errorf("stdout %q, stderr %q", c.Out, c.Err)
	}
}

// The log's reader stands still and its fifo is full: containerd 4509.
func TestAFullLogFifoHangsNobody(t *testing.T) {
	stuck := &stuckWriter{free: make(chan struct{})}
	d := harness.New(t, func(d *harness.Daemon) { d.Log = stuck })
	free := sync.OnceFunc(func() { close(stuck.free) })
	defer free() // or a test that failed would not end
	c := d.Run("sleep", "1000")
	fifo := filepath.Join(c.Bundle.Path, "log")
	missing := strings.Repeat("/missing", 500)
	fail := func() {
		e := c.Exec("x", missing)
		if _, err := e.Process.Start(d.Ctx()); err == nil {
			t.Fatal("a program that is not there was started")
		}
		e.Delete()
	}
	// Each is worth a line as long as the path; the stuck reader has taken one
	// buffer.
	last := -1
	for {
		fail()
		held, _, err := pipeState(fifo)
		if err != nil {
			t.Fatal(err)
		}
		if held > 32<<10 && held == last {
			break
		}
		last = held
	}
	for range 10 {
		fail()
	}
	if _, err := c.Shim.Task.State(d.Ctx(), &task.StateRequest{Id: c.ContainerID}); err != nil {
		t.Error(err)
	}
	if status, out := c.ExecOutput("y", "echo", "alive"); status != 0 || out != "alive\n" {
		t.Errorf("status %d, %q", status, out)
	}
	c.Kill(unix.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	free()
	c.Delete()
}

// What the exec wrote is for its reader, however late: the fifo is kept until
// Delete, though exec and pipe are gone.
func TestOutputOfAnExecThatEndedWithoutAReaderIsKept(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	fifo := filepath.Join(d.Dir, "late")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	askExec(t, d, c.Shim, c.ContainerID, "x", fifo, "echo", "early")
	p := c.ExecProcess("x", nil)
	if _, err := p.Start(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	var out harness.Output
	io, err := client.OpenIO("", fifo, "", client.Streams{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := io.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Delete(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "early\n" {
		t.Errorf("got %q", &out)
	}
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	c.Finish()
}
