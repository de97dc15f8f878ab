package tests

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// sequence is what `seq 1 n` prints with that end of line.
func sequence(n int, end string) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d%s", i+1, end)
	}
	return b.Bytes()
}

func sameBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Fatalf("%s: %d bytes, want %d; they differ at %d: %q, want %q", what, len(got), len(want), at,
		got[at:min(at+40, len(got))], want[at:min(at+40, len(want))])
}

// Output that is cut short: containerd 3738, 4107. By turns init writes it and
// an exec.
func TestAMillionLinesArriveByteForByte(t *testing.T) {
	const lines = 1_000_000
	for _, way := range []struct {
		name     string
		terminal bool
		end      string
	}{{"terminal", true, "\r\n"}, {"fifo", false, "\n"}} {
		t.Run(way.name, func(t *testing.T) {
			d := harness.New(t)
			want := sequence(lines, way.end)
			args := []string{"seq", "1", fmt.Sprint(lines)}
			s := client.Streams{Terminal: way.terminal}
			host := d.Run("sleep", "100000")
			for i := range times(2, 100) {
				what := fmt.Sprintf("run %d", i)
				if i%2 == 0 {
					c := d.CreateWant(harness.Want{Args: args, Streams: s})
					c.Start()
					c.Wait()
					c.Delete()
					sameBytes(t, what, c.Out.Bytes(), want)
				} else {
					e := host.ExecStreams("x", s, args...)
					e.Start()
					e.Wait()
					e.Delete()
					sameBytes(t, what, e.Out.Bytes(), want)
				}
			}
			host.Finish()
		})
	}
}

// A program that prints a screenful, a file, a build log, and waits for an answer.
func TestAMegabyteAtOnceArrivesWholeOnATerminal(t *testing.T) {
	const size, bursts = 1 << 20, 5
	d := harness.New(t)
	r, w := io.Pipe()
	defer w.Close()
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", fmt.Sprintf(
			`stty -echo; echo ready; while read n; do head -c %d /dev/zero | tr '\0' $n; echo; echo end $n; done`, size)},
		Streams: client.Streams{Terminal: true, Stdin: r},
	})
	c.Start()
	if err := c.Out.Wait(d.Ctx(), "ready\r\n"); err != nil {
		t.Fatal(err)
	}
	before := c.Out.Len()
	for i := range bursts {
		fmt.Fprintln(w, i)
		if err := c.Out.Wait(d.Ctx(), fmt.Sprintf("end %d\r\n", i)); err != nil {
			t.Fatal(err)
		}
		got := c.Out.Bytes()[before:]
		before += len(got)
		want := append(bytes.Repeat([]byte{byte('0' + i)}, size), fmt.Sprintf("\r\nend %d\r\n", i)...)
		sameBytes(t, fmt.Sprintf("burst %d", i), got, want)
	}
	c.Finish()
}

// Both outputs at once, each whole.
func TestTwoOutputsDoNotMix(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "seq 1 200000 & seq 1 300000 >&2; wait")
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	sameBytes(t, "stdout", c.Out.Bytes(), sequence(200_000, "\n"))
	sameBytes(t, "stderr", c.Err.Bytes(), sequence(300_000, "\n"))
}

// `echo x | exec cat` whose end never comes: containerd 2439, 2659.
func TestTheEndOfStdinReachesEveryExec(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "100000")
	for i := range times(50, 1000) {
		e := c.ExecStreams("x", client.Streams{Stdin: strings.NewReader("x\n")}, "cat")
		e.Start()
		if got := e.Wait(); got != 0 {
			t.Fatalf("run %d: status %d", i, got)
		}
		e.Delete()
		if got := e.Out.String(); got != "x\n" {
			t.Fatalf("run %d: %q", i, got)
		}
	}
	c.Finish()
}

// Input that the process does not take is in nobody's way.
func TestAProcessThatNeverReadsItsInputEndsAndIsDeleted(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	e := c.ExecStreams("x", client.Streams{Stdin: bytes.NewReader(make([]byte, 4<<20))}, "sh", "-c", "echo unread; exit 3")
	e.Start()
	if got := e.Wait(); got != 3 {
		t.Errorf("status %d", got)
	}
	e.Delete()
	if got := e.Out.String(); got != "unread\n" {
		t.Errorf("output %q", got)
	}
	c.Finish()
}

// The first resize, which comes before the start, is lost: moby 31223.
func TestASizeSetBeforeTheStartIsTheSizeFromTheStart(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "stty size; read line; stty size"}, Streams: client.Streams{Terminal: true, Stdin: neverEnds{t}},
	})
	if err := c.Resize(d.Ctx(), 123, 45); err != nil {
		t.Fatal(err)
	}
	c.Start()
	if err := c.Out.Wait(d.Ctx(), "45 123"); err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	defer w.Close()
	e := c.ExecStreams("x", client.Streams{Terminal: true, Stdin: r}, "sh", "-c", "stty size; read line; stty size")
	if err := e.Resize(d.Ctx(), 99, 11); err != nil {
		t.Fatal(err)
	}
	e.Start()
	if err := e.Out.Wait(d.Ctx(), "11 99"); err != nil {
		t.Fatal(err)
	}
	if err := e.Resize(d.Ctx(), 98, 12); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "on")
	if got := e.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	if err := e.Resize(d.Ctx(), 97, 13); err != nil {
		t.Errorf("resize after the end: %v", err)
	}
	e.Delete()
	if got := e.Out.String(); !strings.HasPrefix(got, "11 99\r\n") || !strings.HasSuffix(got, "12 98\r\n") {
		t.Errorf("the exec's sizes: %q", got)
	}
	c.Finish()
}

// An init system (systemd, busybox) lets go of the terminal that it was started with
// and opens /dev/console for a line or a getty. Meanwhile nobody has the terminal open,
// which is not its end: that is the process's.
func TestATerminalThatNobodyHasOpenForAWhileGoesOn(t *testing.T) {
	d := harness.New(t)
	words := newShare(t, d)
	r, w := io.Pipe()
	defer w.Close()
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "echo begun; exec </dev/null >/dev/null 2>&1; touch /share/away; " + until("go") +
			"read line </dev/console; echo $line >/dev/console; touch /share/away-again; " + until("on") + "echo more >/dev/console; exit 4"},
		Streams: client.Streams{Terminal: true, Stdin: r},
		Edit:    words.into,
	})
	c.Start()
	words.await("away")
	// Nobody has it open to be written to.
	fmt.Fprintln(w, "typed ahead")
	words.say(t, "go")
	if err := c.Out.Wait(d.Ctx(), "typed ahead\r\ntyped ahead\r\n"); err != nil { // its echo, and the answer
		t.Fatal(err)
	}
	words.await("away-again")
	words.say(t, "on")
	if got := c.Wait(); got != 4 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if got := c.Out.String(); !strings.HasSuffix(got, "more\r\n") {
		t.Errorf("output %q", got)
	}
}
