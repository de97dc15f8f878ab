package tests

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

const sayBoth = "echo out; echo err >&2"

func TestStderrAloneIsLegal(t *testing.T) {
	d := harness.New(t)
	errs := newReader(t, d, "err")
	a := mustAsk(t, d, request{id: "e", stderr: errs.path, args: []string{"sh", "-c", sayBoth}})
	a.start()
	if got := a.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	a.end()
	errs.is("err\n")
}

// Docker asks so when it wants no difference.
func TestBothOutputsMayHaveOnePath(t *testing.T) {
	d := harness.New(t)
	both := newReader(t, d, "both")
	script := "for i in $(seq 1 2000); do echo out $i; echo err $i >&2; done"
	a := mustAsk(t, d, request{id: "b", stdout: both.path, stderr: both.path, args: []string{"sh", "-c", script}})
	a.start()
	a.wait()
	a.end()
	both.io.GiveUp()
	if err := both.io.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	// Each in its order, no line torn.
	var out, errs bytes.Buffer
	for line := range strings.Lines(both.out.String()) {
		if strings.HasPrefix(line, "out ") {
			out.WriteString(line)
		} else {
			errs.WriteString(line)
		}
	}
	for prefix, got := range map[string][]byte{"out": out.Bytes(), "err": errs.Bytes()} {
		var want bytes.Buffer
		for i := range 2000 {
			fmt.Fprintf(&want, "%s %d\n", prefix, i+1)
		}
		sameBytes(t, prefix, got, want.Bytes())
	}
	both.leave()
}

// Clients that want no fifos make files instead, as with containerd's own shim.
func TestPlainFilesMayBeStdio(t *testing.T) {
	d := harness.New(t)
	in, out := filepath.Join(d.Dir, "in"), filepath.Join(d.Dir, "out")
	for path, text := range map[string]string{in: "input\n", out: "before\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := mustAsk(t, d, request{id: "f", stdin: in, stdout: out, stderr: "/dev/null", args: []string{"sh", "-c", "cat; " + sayBoth}})
	a.start()
	if got := a.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	a.end()
	if got := readFile(t, out); got != "before\ninput\nout\n" {
		t.Errorf("the file holds %q", got)
	}
}

// Somebody who looks for a fault gives a container his terminal, and closes it.
func TestAShimDoesNotEndWithTheTerminalThatIsAContainersStdio(t *testing.T) {
	for _, scheme := range []string{"", "file://"} {
		d := harness.New(t)
		words := newShare(t, d)
		master, path, err := console.NewPty()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		a := mustAsk(t, d, request{
			id: "t", stdin: path, stdout: scheme + path, edit: words.into,
			args: []string{"sh", "-c", "echo begun; " + until("go") + "echo on && echo on && exit 5"},
		})
		a.start()
		line := make([]byte, len("begun\r\n"))
		if _, err := io.ReadFull(master, line); err != nil || string(line) != "begun\r\n" {
			t.Errorf("%q, %v", line, err)
		}
		if err := master.Close(); err != nil {
			t.Fatal(err)
		}
		words.say(t, "go")
		if got := a.wait(); got != 5 {
			t.Errorf("status %d", got)
		}
		a.end()
	}
}

// A fifo by the scheme of files, without a reader, would hold Create for ever.
func TestAFileThatIsAFifoIsTakenForOne(t *testing.T) {
	d := harness.New(t)
	out := filepath.Join(d.Dir, "out")
	if err := unix.Mkfifo(out, 0o600); err != nil {
		t.Fatal(err)
	}
	a := mustAsk(t, d, request{id: "f", stdout: "file://" + out, args: []string{"sh", "-c", "echo said; exit 6"}})
	a.start()
	if got := a.wait(); got != 6 {
		t.Errorf("status %d", got)
	}
	r, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "said\n" {
		t.Errorf("%q, %v", got, err)
	}
	a.end()
}

// What is lost when a disk is full is lost, but the container goes on.
func TestAFullDiskNeitherBlocksNorKillsAContainer(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t)
			a := mustAsk(t, d, request{
				id: "f", stdout: "file:///dev/full", terminal: terminal,
				args: []string{"sh", "-c", "seq 1 300000 && exit 5"},
			})
			a.start()
			if got := a.wait(); got != 5 {
				t.Errorf("status %d", got)
			}
			if err := d.ShimLog.Wait(d.Ctx(), "write /dev/full: no space left on device"); err != nil {
				t.Error(err)
			}
			a.end()
		})
	}
}

// The error of a container, or exec, that cannot be made says why; its stderr
// does not say so once more.
func TestWhatTheRuntimeSaysOfItsFailureIsInTheErrorAlone(t *testing.T) {
	d := harness.New(t)
	errs := newReader(t, d, "err")
	_, err := ask(t, d, request{id: "m", stdout: errs.path, stderr: errs.path, args: []string{"/no/such/program"}})
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("create: %v", err)
	}
	errs.is("")

	c := d.Run("sleep", "1000")
	e := c.Exec("x", "/no/such/program")
	if _, err := e.Process.Start(d.Ctx()); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("exec: %v", err)
	}
	e.Delete()
	if e.Out.Len() != 0 || e.Err.Len() != 0 {
		t.Errorf("exec: stdout %q, stderr %q", e.Out, e.Err)
	}
	c.Finish()
}

// A runtime whose libraries are missing has no log to write to.
func TestARuntimeThatOnlySpeaksAloudIsQuoted(t *testing.T) {
	d := harness.New(t)
	runtime := filepath.Join(d.Dir, "broken")
	script := "#!/bin/sh\nfor a; do [ $a != create ] || echo 'broken: libseccomp.so.2: cannot open shared object file' >&2; done\nexit 127\n"
	if err := os.WriteFile(runtime, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	errs := newReader(t, d, "err")
	_, err := ask(t, d, request{
		id: "m", stdout: errs.path, stderr: errs.path, args: []string{"true"}, options: &runcopts.Options{BinaryName: runtime},
	})
	if err == nil || !strings.Contains(err.Error(), "libseccomp.so.2: cannot open shared object file") {
		t.Errorf("create: %v", err)
	}
	errs.is("")
}

// Files of the shim's that a container has: CVE-2024-21626 and its kind.
func TestNoFileOfTheShimsIsOpenInAContainer(t *testing.T) {
	d := harness.New(t)
	for _, terminal := range []bool{false, true} {
		s := client.Streams{Terminal: terminal, Stdin: neverEnds{t}}
		// ls itself, for a shell adds what is its own; the fourth is the
		// directory that it reads.
		c := d.CreateWant(harness.Want{Args: []string{"ls", "/proc/self/fd"}, Streams: s})
		c.Start()
		c.Wait()
		c.Delete()
		if got := strings.Fields(c.Out.String()); strings.Join(got, " ") != "0 1 2 3" {
			t.Errorf("terminal %v: files of init: %q", terminal, got)
		}
		host := d.Run("sleep", "1000")
		e := host.ExecStreams("x", s, "ls", "/proc/self/fd")
		e.Start()
		e.Wait()
		e.Delete()
		if got := strings.Fields(e.Out.String()); strings.Join(got, " ") != "0 1 2 3" {
			t.Errorf("terminal %v: files of an exec: %q", terminal, got)
		}
		host.Finish()
	}
	to := filepath.Join(d.Dir, "log")
	uri := logTo("binary", to, `exec 5>&-; ls /proc/self/fd | cat > "$0"; cat <&3 >> "$0"`)
	a := mustAsk(t, d, request{id: "l", stdout: uri, stderr: uri, args: []string{"ls", "/proc/self/fd"}})
	a.start()
	a.wait()
	a.end()
	// The logger has closed its 5: that is ls's directory.
	if got := strings.Fields(readFile(t, to)); strings.Join(got, " ") != "0 1 2 3 4 5 0 1 2 3" {
		t.Errorf("files of a logger and of its container: %q", got)
	}
}
