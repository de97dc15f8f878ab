package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestAContainerLivesOnWhenContainerdIsKilledAndStartedAgain(t *testing.T) {
	d := start(t)
	g := d.gate()
	shim := d.runWith(g.flags(), "c", "sh", "-c", g.script("echo after; ")+g.wait("end")+"exit 8")
	was, _ := d.task("c")
	for range 2 {
		d.kill()
		d.up()
		if is, _ := d.task("c"); is != was {
			t.Fatalf("the task was %+v and is %+v", was, is)
		}
		if is := d.shimOf("c"); is != shim {
			t.Fatalf("the shim was %d and is %d", shim, is)
		}
	}
	if s := d.exec("c", "x", "sh", "-c", "echo in; exit 3"); s.code() != 3 || s.Out.String() != "in\n" {
		t.Errorf("exec after the restart: %d, %q, %s", s.code(), s.Out, s.Err)
	}
	a := d.begin("task", "attach", "c")
	g.open()
	a.expect("after\n")
	g.openDoor("end") // ctr throws away what it has not read when the container ends
	if code := a.code(); code != 8 {
		t.Errorf("attach after the restart ended with %d, want 8: %s", code, a.Err)
	}
	d.story("c", "create", "start", "exec-added x", "exec-started x", "exit x 3", "exit 8", "delete 8")
	d.must("container", "rm", "c")
}

func TestWhatIsTypedAfterARestartArrives(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", "read line; echo got $line; "+g.wait("end")+"exit 6")
	d.kill()
	d.up()
	d.shimOf("c")
	a := d.begin("task", "attach", "c")
	a.write("this\n")
	a.expect("got this\n")
	g.openDoor("end")
	if code := a.code(); code != 6 {
		t.Errorf("exit code %d, %s", code, a.Err)
	}
	d.must("container", "rm", "c")
}

// containerd 4400 and 6771.
func TestAnExitWhileContainerdIsDownIsToldWithItsTrueStatus(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			d := start(t)
			g := d.gate()
			shim := d.hold(d.runWith(g.flags(), "c", "sh", "-c", g.script("exit 7")))
			task, _ := d.task("c")
			init := d.hold(task.pid)
			d.down(sig)
			g.open()
			d.ended("init", init)
			d.up()
			d.status("c", "STOPPED")
			if !alive(shim) {
				t.Error("the shim is gone before anybody asked it for the exit")
			}
			if a := d.begin("task", "attach", "c"); a.code() != 7 {
				t.Errorf("attach ended with %d, want 7: %s", a.code(), a.Err)
			}
			d.event("c", "delete 7")
			d.ended("the shim", shim)
			// The exit may have come before anybody could listen, but it came, and once.
			if n := forwarded(d, "exit"); n != 1 {
				t.Errorf("%d exits were forwarded to containerd, want 1", n)
			}
			d.must("container", "rm", "c")
		})
	}
}

// forwarded counts by containerd's log the events of a topic that shims have sent.
func forwarded(d *daemon, topic string) int {
	count := 0
	for line := range strings.Lines(d.log()) {
		if strings.Contains(line, `msg="event forwarded"`) && strings.Contains(line, "topic=/tasks/"+topic+" ") {
			count++
		}
	}
	return count
}

func TestAnExitWhileContainerdIsDownIsWhatDeleteTells(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", g.script("exit 7"))
	task, _ := d.task("c")
	init := d.hold(task.pid)
	d.kill()
	g.open()
	d.ended("init", init)
	d.up()
	d.stopped("c")
	if s := d.ctr("task", "rm", "c"); s.code() != 0 || !strings.Contains(s.Err.String(), "exit code 7") {
		t.Errorf("task rm: %d, %q; want it to tell of 7", s.code(), s.Err)
	}
	d.event("c", "delete 7")
	d.must("container", "rm", "c")
}

func TestExitsOfExecsWhileContainerdIsDownAreAllForwardedWhenItIsBack(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sleep", "1000")
	const execs = 10
	for i := range execs {
		d.must(d.execArgs([]string{"-d"}, "c", fmt.Sprintf("x%d", i), "sh", "-c", g.script(fmt.Sprintf("exit %d", i)))...)
		d.event("c", fmt.Sprintf("exec-started x%d", i))
	}
	procs := filepath.Join(d.cgroup("pids", "c"), "cgroup.procs")
	d.kill()
	g.open()
	d.eventually("the execs have ended", func() error {
		b, err := os.ReadFile(procs)
		if err == nil && strings.Count(string(b), "\n") != 1 {
			err = errNotYet
		}
		return err
	})
	d.up()
	d.eventually("all exits were forwarded", func() error {
		if n := forwarded(d, "exit"); n != execs {
			return fmt.Errorf("%w: %d", errNotYet, n)
		}
		return nil
	})
	for i := range execs {
		if s := d.ctr("task", "rm", "--exec-id", fmt.Sprintf("x%d", i), "c"); s.code() != i {
			t.Errorf("delete of x%d told %d: %s", i, s.code(), s.Err)
		}
	}
	d.finish("c")
}

func TestAPausedContainerIsStillPausedAfterARestart(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.must("task", "pause", "c")
	d.kill()
	d.up()
	d.status("c", "PAUSED")
	d.must("task", "resume", "c")
	d.status("c", "RUNNING")
	d.shimOf("c")
	d.finish("c")
}

func TestAContainerWritesOnWhileContainerdIsDown(t *testing.T) {
	d := start(t)
	g := d.gate()
	// More than pipes and fifos hold: somebody has to read in the end, but nobody's
	// absence may break the writer. Ctr throws away what it has not read when the
	// container ends, so that waits until everything was.
	d.runWith(g.flags(), "c", "sh", "-c",
		"trap 'exit 13' PIPE; "+g.script("seq 1 500000 || exit 14; ")+g.wait("end"))
	d.kill()
	g.open()
	d.up()
	a := d.begin("task", "attach", "c")
	a.expect("\n500000\n")
	g.openDoor("end")
	if code := a.code(); code != 0 {
		t.Errorf("exit code %d: %s", code, a.Err)
	}
	want := 0
	for n := range 500000 {
		want += len(strconv.Itoa(n+1)) + 1
	}
	if a.Out.Len() != want {
		t.Errorf("%d bytes arrived of %d", a.Out.Len(), want)
	}
	d.must("container", "rm", "c")
}

// containerd 6860: a shim without an owner. Containerd 1.6, when it is back, finds
// it and connects to it, but has nothing for it to do ever.
func TestNoShimStaysWhenContainerdIsKilledInTheMidstOfRun(t *testing.T) {
	d := start(t, "HOLDFAST_IDLE_TIMEOUT=3s")
	d.run("proof", "sleep", "1000")
	for i, file := range []string{"config.json", "address", "options.json", "init.pid"} {
		id := fmt.Sprintf("c%d", i)
		s := d.begin(d.runArgs([]string{"-d"}, id, "sleep", "1000")...)
		path := filepath.Join(d.bundle(id), file)
		d.eventually(file+" is in the bundle", func() error {
			_, err := os.Stat(path)
			return err
		})
		d.kill()
		<-s.ended // whatever came of it
		d.up()
		// It may have come to be before the blow; then it is like any other.
		if _, ok := d.task(id); ok {
			d.ctr("task", "rm", "-f", id)
		}
		d.ctr("container", "rm", id)
	}
	d.shimOf("proof")
	d.finish("proof")
}
