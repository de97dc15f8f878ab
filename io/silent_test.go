package stdio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

// inWaitingRoom reports whether r waits there.
func inWaitingRoom(r *relay) bool {
	silent.mu.Lock()
	defer silent.mu.Unlock()
	return silent.relays[r.key] == r
}

func TestASilentStreamWaitsWithoutAGoroutineAndGoesOn(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out")}
	s := open(t, p)
	in, out := s.stdin.r, s.outputs[0].r
	c := child(t, s)
	w, r := attach(t, p.Stdin, os.O_WRONLY), attach(t, p.Stdout, os.O_RDONLY)
	for round := range 3 {
		until(t, "both streams wait", func() bool { return inWaitingRoom(in) && inWaitingRoom(out) })
		line := fmt.Sprintln("line", round)
		fmt.Fprint(w, line)
		fmt.Fprint(c[1], line)
		for name, from := range map[string]io.Reader{"stdin": c[0], "stdout": r} {
			got := make([]byte, len(line))
			if _, err := io.ReadFull(from, got); err != nil || string(got) != line {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
		}
	}
	until(t, "both streams wait", func() bool { return inWaitingRoom(in) && inWaitingRoom(out) })
	// Ends are seen from there too.
	c[1].Close()
	end(t, out)
	w.Close()
	s.CloseStdin()
	end(t, in)
}

func TestCloseEndsStreamsThatWait(t *testing.T) {
	p := Paths{Stdin: mkfifo(t, "in"), Stdout: mkfifo(t, "out"), Stderr: mkfifo(t, "err")}
	s := open(t, p)
	child(t, s)
	all := []*relay{s.stdin.r, s.outputs[0].r, s.outputs[1].r}
	for _, r := range all {
		until(t, "a stream waits", func() bool { return inWaitingRoom(r) })
	}
	s.Close()
	for _, r := range all {
		end(t, r)
		if inWaitingRoom(r) {
			t.Error("an ended relay is in the waiting room")
		}
	}
	s.Wait()
}

func TestAnOutputThatIsThrownAwayWaitsToo(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	c := child(t, s)
	attach(t, p.Stdout, os.O_RDONLY).Close()
	s.Release()
	fmt.Fprint(c[1], "nobody reads")
	end(t, s.outputs[0].r) // EPIPE
	waste := func() *relay {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.outputs[0].waste
	}
	until(t, "what comes is thrown away", func() bool { return waste() != nil })
	until(t, "it waits", func() bool { return inWaitingRoom(waste()) })
	fmt.Fprint(c[1], "and nobody comes to stand")
	until(t, "it was read", func() bool { return unread(s.outputs[0].r.src) == 0 })
	c[1].Close()
	s.Wait()
}

// A machine may be so busy that a relay is late for its own deadline.
func TestDrainDoesNotWaitForAStreamThatFellSilentWithoutALook(t *testing.T) {
	p := Paths{Stdout: mkfifo(t, "out")}
	s := open(t, p)
	r := s.outputs[0].r
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.child[1].WriteString("a line"); err != nil {
		t.Fatal(err)
	}
	if n, err := r.moveBuffer(&pageBuffers); n != len("a line") || err != nil {
		t.Fatal(n, err)
	}
	r.active = false
	if err := r.src.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.moveBuffer(&pageBuffers); !errors.Is(err, errSilent) {
		t.Fatalf("not silent: %v", err)
	}
	stop := make(chan struct{})
	defer time.AfterFunc(time.Second, func() { close(stop) }).Stop()
	if !r.drained(r.mark(), stop) {
		t.Error("not drained though nothing is in the pipe, nor in a buffer")
	}
}
