package tests

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestStdinReachesInitWholeAndItsEndToo(t *testing.T) {
	d := harness.New(t)
	input := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	c := d.CreateWant(harness.Want{
		Args: []string{"sha256sum"}, Streams: client.Streams{Stdin: bytes.NewReader(input)},
	})
	c.Start()
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if want := fmt.Sprintf("%x  -\n", sha256.Sum256(input)); c.Out.String() != want {
		t.Errorf("got %q, want %q", c.Out, want)
	}
}

func TestAClosedStdinIsRememberedUntilStart(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{Args: []string{"cat"}, Streams: client.Streams{Stdin: neverEnds{t}}})
	if err := c.CloseStdin(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	c.Start()
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

// neverEnds is an input that gives nothing and does not end, until the test has.
type neverEnds struct{ t *testing.T }

func (n neverEnds) Read([]byte) (int, error) {
	<-n.t.Context().Done()
	return 0, io.EOF
}

func TestWithoutCloseIOStdinStaysOpen(t *testing.T) {
	d := harness.New(t)
	r, w := io.Pipe()
	c := d.CreateWant(harness.Want{
		Args:    []string{"sh", "-c", "while read line; do echo got $line; done; echo end"},
		Streams: client.Streams{Stdin: r},
	})
	c.Start()
	for _, word := range []string{"one", "two"} {
		fmt.Fprintln(w, word)
		if err := c.Out.Wait(d.Ctx(), "got "+word); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	c.Wait()
	c.Delete()
	if got := c.Out.String(); got != "got one\ngot two\nend\n" {
		t.Errorf("output %q", got)
	}
}

func TestEveryByteIsThereWhenDeleteHasAnswered(t *testing.T) {
	d := harness.New(t)
	const size = 8 << 20
	c := d.Run("sh", "-c", fmt.Sprintf("head -c %d /dev/zero; head -c %d /dev/zero >&2", size, size))
	c.Wait()
	c.Delete()
	if c.Out.Len() != size || c.Err.Len() != size {
		t.Errorf("%d bytes of stdout, %d of stderr, want %d of each", c.Out.Len(), c.Err.Len(), size)
	}
}

func TestWithoutStdioInitReadsAndWritesNothing(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args:     []string{"sh", "-c", "cat; echo lost; echo lost >&2; exit 9"},
		NoOutput: true,
	})
	c.Start()
	if got := c.Wait(); got != 9 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

func TestStdoutAloneIsLegal(t *testing.T) {
	d := harness.New(t)
	var out harness.Output
	c := d.CreateWant(harness.Want{
		Args:     []string{"sh", "-c", "echo here; echo lost >&2"},
		Streams:  client.Streams{Stdout: &out},
		NoOutput: true,
	})
	c.Start()
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if out.String() != "here\n" {
		t.Errorf("output %q", &out)
	}
}

func TestOutputToAFileIsAppended(t *testing.T) {
	d := harness.New(t)
	path := filepath.Join(d.Dir, "logs", "out.log")
	for range 2 {
		id := fmt.Sprintf("f%d", len(d.Events.All()))
		if err := runWithPaths(d, id, "file://"+path, "file://"+path, "sh", "-c", "echo out; echo err >&2"); err != nil {
			t.Fatal(err)
		}
	}
	got := readFile(t, path)
	if strings.Count(got, "out\n") != 2 || strings.Count(got, "err\n") != 2 || len(got) != 16 {
		t.Errorf("file holds %q", got)
	}
}

func TestOutputGoesToALoggerOfItsOwn(t *testing.T) {
	d := harness.New(t)
	logger := filepath.Join(d.Dir, "logger")
	// What containerd's contract gives a logger: 3 is stdout, 4 is stderr, 5 is
	// to be closed when it is ready.
	script := `#!/bin/sh
exec 5>&-
echo "$CONTAINER_NAMESPACE $CONTAINER_ID $*" > "$2.args"
cat <&4 > "$2.err" &
cat <&3 > "$2.out"
wait
`
	if err := os.WriteFile(logger, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(d.Dir, "logged")
	uri := "binary://" + logger + "?--to=" + to
	if err := runWithPaths(d, "l", uri, uri, "sh", "-c", "echo out; echo err >&2"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		".out": "out\n", ".err": "err\n", ".args": d.Namespace + " l --to " + to + "\n",
	} {
		d.Eventually("the logger's "+name, func() error {
			b, err := os.ReadFile(to + name)
			if err == nil && string(b) != want {
				err = fmt.Errorf("holds %q, want %q", b, want)
			}
			return err
		})
	}
}

// runWithPaths runs a container whose stdout and stderr are what the strings
// say, not fifos of ours, from create to delete.
func runWithPaths(d *harness.Daemon, id, stdout, stderr string, args ...string) error {
	config, err := client.DefaultSpec(d.Namespace, id, args...).JSON()
	if err != nil {
		return err
	}
	rootfs, err := d.Overlay(id)
	if err != nil {
		return err
	}
	b, err := d.NewBundle(id, config)
	if err != nil {
		return err
	}
	s, err := d.Start(d.Ctx(), b, nil)
	if err != nil {
		return err
	}
	if _, err := s.Task.Create(d.Ctx(), &task.CreateTaskRequest{
		Id: id, Bundle: b.Path, Rootfs: []*types.Mount{rootfs}, Stdout: stdout, Stderr: stderr,
	}); err != nil {
		return err
	}
	if _, err := s.Task.Start(d.Ctx(), &task.StartRequest{Id: id}); err != nil {
		return err
	}
	if _, err := s.Task.Wait(d.Ctx(), &task.WaitRequest{Id: id}); err != nil {
		return err
	}
	if _, err := s.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: id}); err != nil {
		return err
	}
	if err := s.Shutdown(d.Ctx()); err != nil {
		return err
	}
	s.Close()
	return b.Delete()
}

func TestATerminalIsOneAndHasTheSizeItIsGiven(t *testing.T) {
	d := harness.New(t)
	r, w := io.Pipe()
	c := d.CreateWant(harness.Want{
		Args:    []string{"sh"},
		Streams: client.Streams{Stdin: r, Terminal: true},
	})
	// Before start, as clients do that know their size (moby 31223), and after.
	if err := c.Resize(d.Ctx(), 101, 37); err != nil {
		t.Fatal(err)
	}
	c.Start()
	fmt.Fprint(w, "tty; stty size\n")
	for _, want := range []string{"/dev/pts/0", "37 101"} {
		if err := c.Out.Wait(d.Ctx(), want); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Resize(d.Ctx(), 80, 24); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "stty size\n")
	if err := c.Out.Wait(d.Ctx(), "24 80"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "exit 11\n")
	if got := c.Wait(); got != 11 {
		t.Errorf("status %d", got)
	}
	w.Close()
	c.Delete()
	if c.Err.Len() != 0 {
		t.Errorf("a terminal's stderr: %q", c.Err)
	}
}

// Cut terminal output: containerd 3738 and 4107.
func TestATerminalsLastOutputIsNotCut(t *testing.T) {
	d := harness.New(t)
	for i := range 5 {
		c := d.CreateWant(harness.Want{
			Args: []string{"seq", "1", "100000"}, Streams: client.Streams{Terminal: true},
		})
		c.Start()
		c.Wait()
		c.Delete()
		var want bytes.Buffer
		for n := range 100000 {
			fmt.Fprintf(&want, "%d\r\n", n+1)
		}
		if got := c.Out.Bytes(); !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("run %d: %d bytes, want %d; the last are %q", i, len(got), want.Len(), tail(got))
		}
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-40):] }

func TestAnExecsTerminalWorksLikeInits(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	r, w := io.Pipe()
	defer w.Close()
	e := c.ExecStreams("x", client.Streams{Stdin: r, Terminal: true}, "sh")
	if err := e.Resize(d.Ctx(), 91, 17); err != nil {
		t.Fatal(err)
	}
	e.Start()
	fmt.Fprint(w, "stty size; exit 12\n")
	if got := e.Wait(); got != 12 {
		t.Errorf("status %d", got)
	}
	e.Delete()
	if !strings.Contains(e.Out.String(), "17 91") {
		t.Errorf("output %q", e.Out)
	}
	c.Finish()
}

func TestAReaderThatGoesAwayDoesNotBlockTheContainer(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "trap '' PIPE; echo ready; while ! [ -e /tmp/go ]; do sleep 0.02; done; head -c 1000000 /dev/zero; echo wrote $? > /tmp/wrote; exit 21")
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	if err := c.IO.Detach(); err != nil {
		t.Fatal(err)
	}
	if status, out := c.ExecOutput("go", "touch", "/tmp/go"); status != 0 {
		t.Fatalf("touch: %s", out)
	}
	// A pipe and a fifo hold less than it writes. The shim keeps the fifo's other
	// end open, so it is full, not broken: the container waits for a reader, as
	// with containerd's own shim.
	again, err := client.OpenIO("", c.IO.Stdout, c.IO.Stderr, client.Streams{Stdout: c.Out, Stderr: c.Err})
	if err != nil {
		t.Fatal(err)
	}
	c.IO = again
	if got := c.Wait(); got != 21 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if want := len("ready\n") + 1000000; c.Out.Len() != want {
		t.Errorf("%d bytes, want %d", c.Out.Len(), want)
	}
}

func TestAKilledContainerWithAFullPipeEnds(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "echo ready; cat /dev/zero")
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	if err := c.IO.Detach(); err != nil {
		t.Fatal(err)
	}
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}
