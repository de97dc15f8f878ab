package containerd

import (
	"fmt"
	"strings"
	"testing"
)

func TestExecShowsBothOutputsAndEndsWithItsOwnExitCode(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	s := d.exec("c", "x", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 3")
	if code := s.code(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if out, err := s.Out.String(), s.Err.String(); out != "to stdout\n" || err != "to stderr\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	d.status("c", "RUNNING")
	d.finish("c")
	d.story("c", "create", "start", "exec-added x", "exec-started x", "exit x 3", "exit 137", "delete 137")
}

func TestExecReadsWhatIsPipedIntoIt(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	for i, text := range []string{"hi\n", strings.Repeat("0123456789abcdef", 1<<16)} {
		s, err := d.try(text, d.execArgs(nil, "c", fmt.Sprintf("x%d", i), "cat")...)
		if err != nil {
			t.Fatal(err)
		}
		if code, got := s.code(), s.Out.String(); code != 0 || got != text {
			t.Errorf("exit code %d, %d bytes came back of %d", code, len(got), len(text))
		}
	}
	d.finish("c")
}

func TestExecSeesTheEndOfItsInputEveryTime(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	for i := range 20 {
		s, err := d.try("x", d.execArgs(nil, "c", fmt.Sprintf("x%d", i), "cat")...)
		if err != nil {
			t.Fatal(err)
		}
		if code, got := s.code(), s.Out.String(); code != 0 || got != "x" {
			t.Fatalf("time %d: exit code %d, %q", i, code, got)
		}
	}
	d.finish("c")
}

func TestExecOfWhatIsNotThereSaysSoAndTheContainerGoesOn(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.refused("no such file or directory", d.execArgs(nil, "c", "x", "/not/there")...)
	if s := d.exec("c", "y", "echo", "here"); s.code() != 0 || s.Out.String() != "here\n" {
		t.Errorf("exec after a failed one: %d, %q, %q", s.code(), s.Out, s.Err)
	}
	d.finish("c")
}

func TestExecInAStoppedContainerIsRefused(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.must("task", "kill", "-s", "KILL", "c")
	d.stopped("c")
	d.refused("stopped", d.execArgs(nil, "c", "x", "true")...)
	d.remove("c")
}

func TestExecInTheBackgroundIsListedKilledAndDeletedById(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	init, _ := d.task("c")
	d.must(d.execArgs([]string{"-d"}, "c", "worker", "sleep", "2000")...)
	d.event("c", "exec-started worker")

	ps := d.must("task", "ps", "c")
	var worker, initLine string
	for line := range strings.Lines(ps) {
		switch {
		case strings.Contains(line, "worker"):
			worker = line
		case strings.HasPrefix(line, fmt.Sprint(init.pid)):
			initLine = line
		}
	}
	var pid int
	if _, err := fmt.Sscan(worker, &pid); err != nil || initLine == "" {
		t.Fatalf("ctr task ps:\n%s", ps)
	}
	if got := readProc(pid, "cmdline"); got != "sleep\x002000\x00" {
		t.Errorf("process %d, said to be the worker, is %q", pid, got)
	}

	d.must("task", "kill", "-s", "TERM", "--exec-id", "worker", "c")
	d.event("c", "exit worker 143")
	if ps := d.must("task", "ps", "c"); strings.Contains(ps, "worker") {
		t.Errorf("an exec that has ended is listed:\n%s", ps)
	}
	if s := d.ctr("task", "rm", "--exec-id", "worker", "c"); s.code() != 143 {
		t.Errorf("delete of the exec: exit code %d, want its status, 143: %s", s.code(), s.Err)
	}
	d.refused("not found", "task", "rm", "--exec-id", "worker", "c")
	d.status("c", "RUNNING")
	d.finish("c")
}

func TestEveryExecOfADyingContainerTellsItsEnd(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	const execs = 8
	var all []*session
	for i := range execs {
		all = append(all, d.begin(d.execArgs(nil, "c", fmt.Sprintf("x%d", i), "sleep", "2000")...))
	}
	for i := range execs {
		d.event("c", fmt.Sprintf("exec-started x%d", i))
	}
	d.must("task", "kill", "-s", "KILL", "c")
	for _, s := range all {
		if code := s.code(); code != 137 {
			t.Errorf("%s: exit code %d: %s", s, code, s.Err)
		}
	}
	d.stopped("c")
	d.remove("c")
	for i := range execs {
		d.event("c", fmt.Sprintf("exit x%d 137", i))
	}
}

func TestFiftyExecsAtOnceAllEndWithTheirOwnCode(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	var all []*session
	for i := range 50 {
		all = append(all, d.begin(d.execArgs(nil, "c", fmt.Sprintf("x%d", i), "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))...))
	}
	for i, s := range all {
		if code, out := s.code(), s.Out.String(); code != i || out != fmt.Sprintf("%d\n", i) {
			t.Errorf("exec %d: exit code %d, %q, %s", i, code, out, s.Err)
		}
	}
	d.finish("c")
}

// A server that is started by an exec goes on in the background and has the exec's
// outputs. Clients read these to their end after they have deleted the exec, and so does
// the CRI where it is told to give up on them (drain_exec_sync_io_timeout).
func TestExecEndsThoughAChildOfItsHoldsTheOutput(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	s := d.exec("c", "x", "sh", "-c", "sleep 1000 & echo begun; exit 5")
	if code, out := s.code(), s.Out.String(); code != 5 || out != "begun\n" {
		t.Errorf("exit code %d, %q", code, out)
	}
	d.finish("c")
}
