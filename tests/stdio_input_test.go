package tests

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// counted gives that many blocks of 64 KiB, no two the same.
type counted struct {
	blocks uint64
	block  [64 << 10]byte
	rest   []byte
}

func (c *counted) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		if c.blocks == 0 {
			return 0, io.EOF
		}
		c.blocks--
		binary.LittleEndian.PutUint64(c.block[:], c.blocks)
		c.rest = c.block[:]
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func TestAHundredMegabytesOfInputAreReadToTheirEnd(t *testing.T) {
	const blocks = 100 << 20 / (64 << 10)
	d := harness.New(t)
	want := sha256.New()
	if _, err := io.Copy(want, &counted{blocks: blocks}); err != nil {
		t.Fatal(err)
	}
	c := d.Run("sleep", "1000")
	e := c.ExecStreams("x", client.Streams{Stdin: &counted{blocks: blocks}}, "sha256sum")
	e.Start()
	if got := e.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	e.Delete()
	if got := e.Out.String(); got != fmt.Sprintf("%x  -\n", want.Sum(nil)) {
		t.Errorf("it read something else: %q", got)
	}
	c.Finish()
}

// A client that does not keep stdin open writes what it has, closes it and says
// so, and only then starts the container.
func TestInputFromBeforeTheStartIsReadAfterIt(t *testing.T) {
	d := harness.New(t)
	in := mkfifo(t, d, "in")
	out := newReader(t, d, "out")
	a := mustAsk(t, d, request{id: "i", stdin: in, stdout: out.path, args: []string{"cat"}})
	writeTo(t, in, "early\n")
	a.closeStdin("")
	a.start()
	if got := a.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	a.end()
	out.is("early\n")
}

func TestAClosedStdinOfAnExecIsRememberedUntilItsStart(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	for _, terminal := range []bool{false, true} {
		e := c.ExecStreams("x", client.Streams{Stdin: neverEnds{t}, Terminal: terminal}, "sh", "-c", "[ -t 0 ] || cat; echo end")
		if err := e.CloseStdin(d.Ctx()); err != nil {
			t.Fatal(err)
		}
		e.Start()
		if got := e.Wait(); got != 0 {
			t.Errorf("status %d", got)
		}
		e.Delete()
	}
	c.Finish()
}

// A writer that goes away is a client that detaches, or a daemon that is
// restarted: another comes. Only CloseIO ends the input.
func TestInputGoesOnWhenItsWriterWasGoneAndIsBack(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t)
			in := mkfifo(t, d, "in")
			out := newReader(t, d, "out")
			a := mustAsk(t, d, request{
				id: "i", stdin: in, stdout: out.path, terminal: terminal,
				args: []string{"sh", "-c", "[ ! -t 0 ] || stty -echo -onlcr; echo ready; while read line; do echo got $line; [ $line != last ] || [ ! -t 0 ] || exit 0; done; echo end"},
			})
			a.start()
			out.await("ready")
			for i := range 3 {
				writeTo(t, in, fmt.Sprintf("%d\n", i))
				out.await(fmt.Sprintf("got %d\n", i))
			}
			writeTo(t, in, "last\n")
			out.await("got last\n")
			a.closeStdin("")
			if got := a.wait(); got != 0 {
				t.Errorf("status %d", got)
			}
			a.end()
		})
	}
}

// writeTo writes to a fifo as a client that comes and goes.
func writeTo(t *testing.T, fifo, text string) {
	t.Helper()
	f, err := os.OpenFile(fifo, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

func mkfifo(t *testing.T, d *harness.Daemon, name string) string {
	t.Helper()
	path := filepath.Join(d.Dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// reader is a client's end of an output fifo.
type reader struct {
	t    *testing.T
	d    *harness.Daemon
	path string
	out  harness.Output
	io   *client.IO
}

func newReader(t *testing.T, d *harness.Daemon, name string) *reader {
	t.Helper()
	r := &reader{t: t, d: d, path: mkfifo(t, d, name)}
	r.open()
	return r
}

func (r *reader) open() {
	r.t.Helper()
	var err error
	if r.io, err = client.OpenIO("", r.path, "", client.Streams{Stdout: &r.out}); err != nil {
		r.t.Fatal(err)
	}
}

// leave is what a client does that wants no more of it.
func (r *reader) leave() {
	r.t.Helper()
	if err := r.io.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *reader) await(text string) {
	r.t.Helper()
	if err := r.out.Wait(r.d.Ctx(), text); err != nil {
		r.t.Fatal(err)
	}
}

// is reads to the end and compares.
func (r *reader) is(want string) {
	r.t.Helper()
	r.io.GiveUp()
	if err := r.io.Wait(r.d.Ctx()); err != nil {
		r.t.Fatal(err)
	}
	sameBytes(r.t, filepath.Base(r.path), r.out.Bytes(), []byte(want))
	r.leave()
}
