package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// drainForever has a Delete that waits for what does not come fail the test by
// the test's own patience.
var drainForever = harness.Env("HOLDFAST_DRAIN_TIMEOUT=1h")

// An exec that never returns because its background child has the output:
// containerd 10094, moby 33039. The end of the exec and its Delete do not wait
// for the child, and what the child says arrives as long as it lives.
func TestTheChildOfAnExecNeitherHoldsItUpNorIsSilenced(t *testing.T) {
	d := harness.New(t, drainForever)
	words := newShare(t, d)
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Edit: words.into})
	c.Start()
	fifo := filepath.Join(d.Dir, "out")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var out harness.Output
	io, err := client.OpenIO("", fifo, "", client.Streams{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	askExec(t, d, c.Shim, c.ContainerID, "x", fifo, "sh", "-c", "("+until("go")+"echo late; seq 1 100000) & echo gone; exit 6")
	p := c.ExecProcess("x", nil)
	if _, err := p.Start(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	d.WaitEvent(c, "exit x 6")
	r, err := p.Delete(d.Ctx())
	if err != nil || r.ExitStatus != 6 {
		t.Fatalf("delete: %v, %v", r, err)
	}
	select {
	case <-io.Copied():
		t.Error("the output ended with the exec")
	default:
	}
	// Its id is free, though its output is not over.
	if status, again := c.ExecOutput("x", "echo", "again"); status != 0 || again != "again\n" {
		t.Errorf("status %d, %q", status, again)
	}
	words.say(t, "go")
	if err := io.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "output", out.Bytes(), append([]byte("gone\nlate\n"), sequence(100_000, "\n")...))
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
	c.Finish()
}

// The end of the container is the end of such a child.
func TestAContainerIsDeletedThoughAnExecsChildHoldsOutput(t *testing.T) {
	d := harness.New(t, drainForever)
	c := d.Run("sleep", "1000")
	fifo := filepath.Join(d.Dir, "out")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var out harness.Output
	io, err := client.OpenIO("", fifo, "", client.Streams{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	askExec(t, d, c.Shim, c.ContainerID, "x", fifo, "sh", "-c", "sleep 1000 & echo gone")
	p := c.ExecProcess("x", nil)
	if _, err := p.Start(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Delete(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	c.Finish()
	if err := io.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if out.String() != "gone\n" {
		t.Errorf("got %q", &out)
	}
	if err := os.Remove(fifo); err != nil {
		t.Fatal(err)
	}
}

// The same with a terminal, whose child does not die of the hang-up.
func TestTheChildThatHoldsAnExecsTerminalDoesNotHoldUpItsDelete(t *testing.T) {
	d := harness.New(t, drainForever)
	words := newShare(t, d)
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Edit: words.into})
	c.Start()
	e := c.ExecStreams("x", client.Streams{Terminal: true}, "sh", "-c", "trap '' HUP; ("+until("go")+"echo late) & seq 1 1000; exit 6")
	e.Start()
	if got := e.Wait(); got != 6 {
		t.Errorf("status %d", got)
	}
	if _, err := c.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
		t.Fatal(err)
	}
	words.say(t, "go")
	if err := e.IO.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "output", e.Out.Bytes(), append(sequence(1000, "\r\n"), "late\r\n"...))
	if err := e.IO.Close(); err != nil {
		t.Fatal(err)
	}
	c.Finish()
}

// A server that was started by an exec: when the client has gone, what it says
// is for nobody, and it must not come to stand for that.
func TestTheChildOfADeletedExecGoesOnWhenItsClientHasGone(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t, drainForever)
			words := newShare(t, d)
			c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Edit: words.into})
			shim := c.HoldShim()
			c.Start()
			idle := openFiles(shim)
			e := c.ExecStreams("x", client.Streams{Terminal: terminal}, "sh", "-c",
				"trap '' HUP; ("+until("go")+"seq 1 300000 && touch /share/wrote) & echo served") // more than the kernel holds
			e.Start()
			e.Wait()
			if _, err := c.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
				t.Fatal(err)
			}
			if err := e.Out.Wait(d.Ctx(), "served"); err != nil {
				t.Fatal(err)
			}
			if err := e.IO.Close(); err != nil { // and the fifos are gone
				t.Fatal(err)
			}
			words.say(t, "go")
			words.await("wrote")
			flat(d, shim, idle)
			c.Finish()
		})
	}
}

// Containerd's clients read an exec's outputs to their end when they have deleted it. It
// comes though a child has them, who is not told.
func TestTheOutputOfADeletedExecEndsThoughItsChildHoldsIt(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t, harness.Env("HOLDFAST_DRAIN_TIMEOUT=300ms"))
			words := newShare(t, d)
			c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Edit: words.into})
			shim := c.HoldShim()
			c.Start()
			idle := openFiles(shim)
			e := c.ExecStreams("x", client.Streams{Terminal: terminal}, "sh", "-c",
				"trap '' HUP; ("+until("go")+"seq 1 300000 && touch /share/wrote; "+until("end")+") & echo served")
			e.Start()
			e.Wait()
			if _, err := c.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
				t.Fatal(err)
			}
			if err := e.IO.Wait(d.Ctx()); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(e.Out.String()); got != "served" {
				t.Errorf("output %q", got)
			}
			words.say(t, "go")
			words.await("wrote")
			words.say(t, "end")
			if err := e.IO.Close(); err != nil {
				t.Fatal(err)
			}
			flat(d, shim, idle)
			c.Finish()
			if log := d.ShimLog.String(); strings.Contains(log, "output is lost") {
				t.Errorf("logged: %s", log)
			}
		})
	}
}

// Clients that die: what their execs had to say is given up by Delete, and the
// descriptors with it.
func TestExecsWhoseOutputNobodyReadsLeaveNoDescriptor(t *testing.T) {
	// Delete does not wait for a reader that does not come.
	d := harness.New(t, harness.Env("HOLDFAST_DRAIN_TIMEOUT=1ms"))
	c := d.Run("sleep", "100000")
	shim := c.HoldShim()
	one := func(id string) {
		e := c.ExecStreams(id, client.Streams{}, "seq", "1", "1000000")
		if err := e.IO.Detach(); err != nil {
			t.Fatal(err)
		}
		awaitFull(d, fmt.Sprintf("/proc/%d/fd/1", e.Start()), e.IO.Stdout)
		if err := e.Kill(d.Ctx(), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e.Wait()
		deleteInShim(t, c, id)
		if err := e.IO.Close(); err != nil {
			t.Fatal(err)
		}
	}
	one("first")
	idle := openFiles(shim)
	for i := range times(4, 1000) {
		one(fmt.Sprint("x", i))
	}
	flat(d, shim, idle)
	c.Finish()
}

// Children that live on for a while have their streams, and no longer.
func TestExecsWhoseChildrenLiveOnLeaveNoDescriptorInTheEnd(t *testing.T) {
	d := harness.New(t, drainForever)
	words := newShare(t, d)
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "100000"}, Edit: words.into})
	if err := unix.Mkfifo(words.path("end"), 0o600); err != nil {
		t.Fatal(err)
	}
	shim := c.HoldShim()
	c.Start()
	idle := openFiles(shim)
	n := times(10, 1000)
	for i := range n {
		id := fmt.Sprint("x", i)
		e := c.ExecStreams(id, client.Streams{Terminal: i%2 == 1}, "sh", "-c", "trap '' HUP; (read x < /share/end) & echo left")
		e.Start()
		e.Wait()
		deleteInShim(t, c, id)
		if err := e.IO.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if held := openFiles(shim); held < idle+n {
		t.Errorf("the shim has %d files, %d before there were %d children with output", held, idle, n)
	}
	// A line for each, held until the last has come for its own.
	end, err := os.OpenFile(words.path("end"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if _, err := end.WriteString(strings.Repeat("\n", n)); err != nil {
		t.Fatal(err)
	}
	flat(d, shim, idle)
	c.Finish()
}

// deleteInShim deletes an exec and leaves the client's side as it is.
func deleteInShim(t *testing.T, c *harness.Container, id string) {
	t.Helper()
	if _, err := c.ExecProcess(id, nil).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// openFiles is how many files a shim has open.
func openFiles(shim *client.Hold) int {
	return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid())))
}

// flat waits until a shim has no more files open than before.
func flat(d *harness.Daemon, shim *client.Hold, before int) {
	d.Eventually("the shim's files", func() error {
		if n := openFiles(shim); n > before {
			return fmt.Errorf("%d, before %d", n, before)
		}
		return nil
	})
}

// Ends of terminals that pile up: containerd 11160, 11205.
func TestTerminalsOfManyExecsLeaveNoDescriptor(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "100000")
	shim := c.HoldShim()
	one := func(n int) {
		// By turns with an end of stdin, without one, and with none.
		s := client.Streams{Terminal: true}
		switch n % 3 {
		case 0:
			s.Stdin = strings.NewReader("")
		case 1:
			s.Stdin = neverEnds{t}
		}
		e := c.ExecStreams("x", s, "echo", "x")
		e.Start()
		e.Wait()
		e.Delete()
		if got := e.Out.String(); got != "x\r\n" {
			t.Fatalf("run %d: %q", n, got)
		}
	}
	for n := range 6 {
		one(n)
	}
	before := openFiles(shim)
	for n := range times(60, 1000) {
		one(n)
	}
	flat(d, shim, before)
	c.Finish()
}
