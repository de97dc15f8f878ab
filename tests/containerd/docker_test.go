package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestDockerRunExecAndLogs(t *testing.T) {
	e := startDocker(t)
	s := e.dockerWith("typed\n", "run", "--network", "none", "--rm", "-i", "busybox", "sh", "-c", "read line; echo got $line; echo err >&2; exit 7")
	if code := s.code(); code != 7 || s.Out.String() != "got typed\n" || s.Err.String() != "err\n" {
		t.Errorf("run: exit code %d, %q, %q", code, s.Out, s.Err)
	}
	e.runDocker("c1", []string{"-m", "64m"}, "sh", "-c", "echo out; echo err >&2; sleep 1000")
	e.eventually("both outputs are logged", func() error {
		s := e.dockerWith("", "logs", "c1")
		if s.Out.String() != "out\n" || s.Err.String() != "err\n" {
			return fmt.Errorf("%w: %q, %q", errNotYet, s.Out, s.Err)
		}
		return nil
	})
	if s := e.dockerWith("", "exec", "c1", "sh", "-c", "echo in; exit 3"); s.code() != 3 || s.Out.String() != "in\n" {
		t.Errorf("exec: exit code %d, %q, %s", s.code(), s.Out, s.Err)
	}
	long := strings.Repeat("0123456789abcdef", 1<<14)
	if s := e.dockerWith(long, "exec", "-i", "c1", "cat"); s.code() != 0 || s.Out.String() != long {
		t.Errorf("exec of cat: exit code %d, %d bytes of %d", s.code(), s.Out.Len(), len(long))
	}
	if s := e.dockerWith("", "exec", "c1", "/not/there"); s.code() != 126 && s.code() != 127 {
		t.Errorf("exec of what is not there: exit code %d: %s", s.code(), s.Err)
	}
	if top := e.docker("top", "c1"); !strings.Contains(top, "sleep 1000") {
		t.Errorf("top:\n%s", top)
	}
	if stats := e.docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "c1"); !strings.Contains(stats, "/ 64MiB 1") {
		t.Errorf("stats: %q", stats)
	}
	e.docker("update", "-m", "32m", "--memory-swap", "32m", "c1")
	if stats := e.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "c1"); !strings.Contains(stats, "/ 32MiB") {
		t.Errorf("stats after the update: %q", stats)
	}
	e.docker("pause", "c1")
	if i := e.inspect("c1"); !i.State.Paused {
		t.Errorf("paused: %+v", i)
	}
	e.docker("unpause", "c1")
	e.docker("rm", "-f", "c1")
}

// Beside containerd's own shim, as the README tells to with Docker 23 and newer.
func TestDockerTakesTheShimByItsOwnName(t *testing.T) {
	e := startDocker(t)
	named := []string{"--runtime", "io.containerd.holdfast.v2"}
	version := e.docker("version", "--format", "{{.Server.Version}}")
	if major, err := strconv.Atoi(version[:strings.IndexByte(version, '.')]); err != nil {
		t.Fatalf("dockerd's version is %q: %v", version, err)
	} else if major < 23 {
		s := e.dockerWith("", append(append([]string{"run", "--rm"}, named...), "busybox", "true")...)
		if s.code() != 125 || !strings.Contains(s.Err.String(), "Unknown runtime") {
			t.Errorf("exit code %d: %s", s.code(), s.Err)
		}
		named = nil
	}
	id := e.runDocker("c1", named, "sleep", "1000")
	if argv := harness.Cmdline(e.shimOf(id)); named != nil && filepath.Base(strings.Fields(argv)[0]) != harness.ShimName {
		t.Errorf("the shim was started as %q", argv)
	}
	if s := e.dockerWith("", "exec", "c1", "sh", "-c", "exit 3"); s.code() != 3 {
		t.Errorf("exec: exit code %d: %s", s.code(), s.Err)
	}
	e.docker("rm", "-f", "c1")
}

func TestDockerStopAndKill(t *testing.T) {
	e := startDocker(t)
	loop := "echo ready; while :; do sleep 0.05; done"
	for name, script := range map[string]string{"well": "trap 'exit 5' TERM; ", "deaf": "trap '' TERM; ", "usr1": "trap 'exit 6' USR1; "} {
		e.runDocker(name, nil, "sh", "-c", script+loop)
		e.eventually(name+" is ready", func() error {
			if e.docker("logs", name) != "ready\n" {
				return errNotYet
			}
			return nil
		})
	}
	e.docker("stop", "-t", "60", "well")
	e.waitState("well", exitedWith(5))
	e.docker("stop", "-t", "1", "deaf")
	e.waitState("deaf", exitedWith(137))
	e.docker("kill", "-s", "USR1", "usr1")
	e.waitState("usr1", exitedWith(6))
	// Once more from the start, under a shim of its own.
	e.docker("start", "usr1")
	i := e.waitState("usr1", func(i inspected) bool { return i.State.Status == "running" })
	e.shimOf(i.ID)
	e.docker("kill", "usr1")
	e.waitState("usr1", exitedWith(137))
	e.docker("rm", "well", "deaf", "usr1")
}

func TestDockerInit(t *testing.T) {
	e := startDocker(t)
	e.runDocker("c1", []string{"--init"}, "sleep", "1000")
	if comm := e.docker("exec", "c1", "cat", "/proc/1/comm"); comm != "docker-init\n" {
		t.Errorf("process 1 is %q", comm)
	}
	// It passes on what a sleep as process 1 would not get.
	e.docker("stop", "-t", "60", "c1")
	e.waitState("c1", exitedWith(143))
	e.docker("rm", "c1")
}

func TestDockerOnATerminal(t *testing.T) {
	e := startDocker(t)
	e.runDocker("c1", nil, "sleep", "1000")
	for _, args := range [][]string{{"run", "--network", "none", "--rm", "-it", "busybox", "sh"}, {"exec", "-it", "c1", "sh"}} {
		s := e.onTerminalWith(e.dockerCommand(args...), 33, 77, args)
		useTerminal(t, s)
		if screen, code := s.shown(); code != 5 {
			t.Errorf("%s: exit code %d, want 5; the screen:\n%s", s, code, screen)
		}
	}
	e.docker("rm", "-f", "c1")
}

func TestDockerRestartsWhatItShould(t *testing.T) {
	e := startDocker(t)
	e.docker("run", "--network", "none", "-d", "--name", "failing", "--restart", "on-failure:2", "busybox", "sh", "-c", "exit 3")
	e.runDocker("always", []string{"--restart", "always"}, "sleep", "1000")
	i := e.waitState("failing", func(i inspected) bool { return i.RestartCount == 2 && i.State.Status == "exited" })
	if i.State.ExitCode != 3 {
		t.Errorf("the failing one: %+v", i)
	}
	was := e.inspect("always")
	if err := e.hold(was.State.Pid).Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	is := e.waitState("always", func(i inspected) bool {
		return i.RestartCount == 1 && i.State.Status == "running" && i.State.Pid != was.State.Pid
	})
	e.shimOf(is.ID)
	e.docker("rm", "-f", "failing", "always")
}

func TestDockerInTheHostsPidNamespace(t *testing.T) {
	e := startDocker(t)
	e.runDocker("c1", []string{"--pid=host"}, "sh", "-c", "setsid sleep 2000 & sleep 1000; true")
	own, err := os.ReadFile("/proc/1/comm")
	if err != nil {
		t.Fatal(err)
	}
	if comm := e.docker("exec", "c1", "cat", "/proc/1/comm"); comm != string(own) {
		t.Errorf("process 1 is %q, the host's %q", comm, own)
	}
	e.eventually("the child runs", func() error {
		if top := e.docker("top", "c1"); !strings.Contains(top, "sleep 2000") {
			return errNotYet
		}
		return nil
	})
	// Nobody of it may be left, which the end of the test looks for.
	e.docker("kill", "c1")
	e.waitState("c1", exitedWith(137))
	e.docker("rm", "c1")
}

func TestDockerTellsWhoWasOOMKilled(t *testing.T) {
	e := startDocker(t)
	e.runDocker("proof", nil, "sleep", "1000")
	e.docker("run", "--network", "none", "-d", "--name", "c1", "-m", "8m", "--memory-swap", "8m", "busybox",
		"sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
	if i := e.waitState("c1", exitedWith(137)); !i.State.OOMKilled {
		t.Errorf("not said to be OOM killed: %+v", i)
	}
	e.docker("rm", "-f", "c1", "proof")
}

func TestDockerContainersLiveThroughTheDeathOfBothDaemons(t *testing.T) {
	e := startDocker(t)
	g := e.gate()
	mount := []string{"-v", g.dir + ":/mnt"}
	id := e.runDocker("c1", mount, "sh", "-c", "echo before; "+g.wait("open")+"echo after; sleep 1000")
	e.runDocker("mortal", mount, "sh", "-c", g.script("exit 7"))
	was, shim := e.inspect("c1"), e.shimOf(id)
	init := e.hold(e.inspect("mortal").State.Pid)
	e.downEngine(syscall.SIGKILL)
	g.open()
	e.ended("a container while dockerd is down", init)
	e.upEngine()
	e.waitState("mortal", exitedWith(7))
	check := func(when string) {
		t.Helper()
		if is := e.waitState("c1", func(i inspected) bool { return i.State.Status == "running" }); is.State.Pid != was.State.Pid {
			t.Errorf("%s: the container was process %d and is %d", when, was.State.Pid, is.State.Pid)
		}
		if got := e.shimOf(id); got != shim {
			t.Errorf("%s: the shim was %d and is %d", when, shim, got)
		}
		e.eventually("exec works "+when, func() error {
			s, err := e.tryDocker("exec", "c1", "echo", "in")
			if err == nil && s.Out.String() != "in\n" {
				err = fmt.Errorf("%w: %s", errNotYet, s.Err)
			}
			return err
		})
	}
	check("after dockerd's death")
	e.eventually("what was said meanwhile is logged", func() error {
		if logs := e.docker("logs", "c1"); logs != "before\nafter\n" {
			return fmt.Errorf("%w: %q", errNotYet, logs)
		}
		return nil
	})
	e.kill()
	e.up()
	check("after containerd's death")
	e.docker("rm", "-f", "c1", "mortal")
}
