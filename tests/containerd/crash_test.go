package containerd

import (
	"fmt"
	"testing"
)

func TestAShimThatIsKilledTakesItsContainerWithIt(t *testing.T) {
	d := start(t)
	d.run("c", "sh", "-c", "setsid sleep 2000 & sleep 1000; true")
	d.must(d.execArgs([]string{"-d"}, "c", "x", "sleep", "3000")...)
	d.killShim("c")
	gone(t, d, "c", 137)
	// The same container can be run again.
	d.must("task", "start", "-d", "--fifo-dir", d.fifos(), "c")
	d.shimOf("c")
	d.finish("c")
}

// gone waits until containerd has cleaned up after a lost shim and told so.
func gone(t *testing.T, d *daemon, id string, status int) {
	t.Helper()
	d.event(id, fmt.Sprintf("exit %d", status))
	d.event(id, fmt.Sprintf("delete %d", status))
	d.eventually("the task is gone", func() error {
		if task, ok := d.task(id); ok {
			return fmt.Errorf("%w: it is %s", errNotYet, task.status)
		}
		return nil
	})
	d.checkLeaks()
}

// containerd 4769, 8381.
func TestAShimThatIsKilledAfterAnExitDoesNotTakeItsStatusAlong(t *testing.T) {
	d := start(t)
	g := d.gate()
	shim := d.hold(d.runWith(g.flags(), "c", "sh", "-c", g.script("exit 3")))
	g.open()
	d.event("c", "exit 3")
	d.stopped("c")
	d.events.lost("c")
	shim.Signal(9)
	d.ended("the shim", shim)
	d.event("c", "delete 3")
	gone(t, d, "c", 3)
	d.must("container", "rm", "c")
}

func TestAShimThatIsKilledWithAPausedContainerLeavesNothing(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.must("task", "pause", "c")
	d.status("c", "PAUSED")
	d.killShim("c")
	gone(t, d, "c", 137)
	d.must("container", "rm", "c")
}

func TestAShimThatIsKilledWhileContainerdIsDownLeavesNothing(t *testing.T) {
	d := start(t)
	g := d.gate()
	shim := d.hold(d.run("c", "sleep", "1000"))
	ended := d.hold(d.runWith(g.flags(), "e", "sh", "-c", g.script("exit 3")))
	g.open()
	d.event("e", "exit 3")
	d.events.lost("c")
	d.events.lost("e")
	d.kill()
	shim.Signal(9)
	ended.Signal(9)
	d.ended("a shim", shim)
	d.ended("the other shim", ended)
	d.up()
	for _, id := range []string{"c", "e"} {
		d.eventually("the task is gone", func() error {
			if task, ok := d.task(id); ok {
				return fmt.Errorf("%w: %s is %s", errNotYet, id, task.status)
			}
			return nil
		})
	}
	d.checkLeaks()
	d.must("container", "rm", "c", "e")
}

func TestTheLossOfAShimEndsAnAttachedRun(t *testing.T) {
	d := start(t)
	s := d.attached(nil, "c", "sh", "-c", "echo ready; sleep 1000; true")
	s.expect("ready\n")
	d.killShim("c")
	if code := s.code(); code == 0 {
		t.Errorf("ctr ended with %d after its container was killed", code)
	}
	d.eventually("the container is removed", func() error {
		if d.must("container", "ls", "-q") != "" {
			return errNotYet
		}
		return nil
	})
}
