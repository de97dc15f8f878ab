package containerd

import (
	"slices"
	"strings"
	"testing"
)

func TestRunShowsBothOutputsAndEndsWithTheContainersExitCode(t *testing.T) {
	d := start(t)
	s := d.attached(nil, "c", "sh", "-c", "echo to stdout; echo to stderr >&2; read line; exit 7")
	s.expect("to stdout\n")
	d.eventually("stderr is shown", func() error {
		if s.Err.Len() == 0 {
			return errNotYet
		}
		return nil
	})
	d.shimOf("c")
	s.write("go on\n")
	if code := s.code(); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if out, err := s.Out.String(), s.Err.String(); out != "to stdout\n" || err != "to stderr\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	d.story("c", "create", "start", "exit 7", "delete 7")
}

func TestRunLosesNothingOfALongOutput(t *testing.T) {
	d := start(t)
	// Ctr throws away what it has not read when the container ends.
	s := d.attached(nil, "c", "sh", "-c", "seq 1 200000; read line")
	s.expect("\n200000\n")
	d.shimOf("c")
	s.write("go on\n")
	if code := s.code(); code != 0 {
		t.Errorf("exit code %d: %s", code, s.Err)
	}
	lines := strings.Split(strings.TrimSuffix(s.Out.String(), "\n"), "\n")
	if len(lines) != 200000 || lines[0] != "1" || lines[199999] != "200000" {
		t.Errorf("%d lines, from %q to %q", len(lines), lines[0], lines[len(lines)-1])
	}
}

func TestRunInTheBackgroundLivesOnWithoutItsCtr(t *testing.T) {
	d := start(t)
	shim := d.hold(d.run("c", "sleep", "1000"))
	d.status("c", "RUNNING")
	d.story("c", "create", "start")
	d.refused("must be stopped", "task", "rm", "c")
	d.status("c", "RUNNING")
	d.must("task", "kill", "-s", "KILL", "c")
	d.stopped("c")
	if !alive(shim) {
		t.Error("the shim is gone before its container was deleted")
	}
	d.remove("c")
	d.ended("the shim of a deleted container", shim)
	d.story("c", "create", "start", "exit 137", "delete 137")
}

func TestRunOfWhatIsNotThereSaysSoAndLeavesNothing(t *testing.T) {
	d := start(t)
	d.refused("no such file or directory", d.runArgs([]string{"--rm"}, "c", "/not/there")...)
	d.refused("executable file not found", d.runArgs([]string{"--rm"}, "c2", "not-there")...)
	if _, ok := d.task("c"); ok {
		t.Error("there is a task of a container that could not be created")
	}
	// The same name is good for one that can be.
	d.run("c", "sleep", "1000")
	d.finish("c")
}

func TestForcedDeleteEndsWhatRuns(t *testing.T) {
	d := start(t)
	shim := d.hold(d.run("c", "sleep", "1000"))
	d.must("task", "rm", "-f", "c")
	d.ended("the shim of a deleted container", shim)
	d.must("container", "rm", "c")
	d.story("c", "create", "start", "exit 137", "delete 137")
}

func TestATaskCanBeStartedAgainInTheSameContainer(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", g.script("exit 4"))
	g.open()
	for range 2 {
		d.stopped("c")
		d.must("task", "rm", "c")
		d.must("task", "start", "-d", "--fifo-dir", d.fifos(), "c")
	}
	d.stopped("c")
	d.remove("c")
	life := []string{"create", "start", "exit 4", "delete 4"}
	d.story("c", slices.Concat(life, life, life)...)
}
