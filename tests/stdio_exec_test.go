package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// An exec that never returns because its background child has the output:
// containerd 10094, moby 33039. The end of the exec and its Delete do not wait
// for the child, and what the child says arrives as long as it lives.
func TestTheChildOfAnExecNeitherHoldsItUpNorIsSilenced(t *testing.T) {
	d := harness.New(t)
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
	d := harness.New(t)
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

// Ends of terminals that pile up: containerd 11160, 11205.
func TestTerminalsOfManyExecsLeaveNoDescriptor(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
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
	files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
	for n := range 6 {
		one(n)
	}
	before := files()
	for n := range times(90, 1000) {
		one(n)
	}
	d.Eventually("the shim's files", func() error {
		if n := files(); n > before {
			return fmt.Errorf("%d, before %d", n, before)
		}
		return nil
	})
	c.Finish()
}
