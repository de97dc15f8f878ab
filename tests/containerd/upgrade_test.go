package containerd

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
)

func TestTwentyContainersLiveThroughTheDeathOfTheirDaemon(t *testing.T) {
	d := start(t)
	g := d.gate()
	const containers = 20
	id := func(i int) string { return fmt.Sprintf("c%d", i) }
	var wg sync.WaitGroup
	for i := range containers {
		// Those that end while the daemon is away wait at the gate.
		script := "while read line; do echo " + id(i) + " got $line; done"
		if i%2 == 1 {
			script = g.script(fmt.Sprintf("exit %d", i))
		}
		wg.Go(func() {
			s, err := d.try("", d.runArgs(append([]string{"-d"}, g.flags()...), id(i), "sh", "-c", script)...)
			if err != nil {
				t.Error(err)
			} else if code, _ := s.wait(); code != 0 {
				t.Errorf("%s: exit code %d: %s", s, code, s.Err)
			}
		})
	}
	wg.Wait()
	shims := make(map[string]int)
	inits := make(map[string]*client.Hold)
	for i := range containers {
		shims[id(i)] = d.shimOf(id(i))
		task, _ := d.task(id(i))
		inits[id(i)] = d.hold(task.pid)
	}
	d.kill()
	g.open()
	for i := range containers {
		if i%2 == 1 {
			d.ended("init of "+id(i), inits[id(i)])
		}
	}
	d.up()
	for i := range containers {
		id := id(i)
		if i%2 == 1 {
			d.stopped(id)
			if code := d.begin("task", "attach", id).code(); code != i {
				t.Errorf("%s ended with %d, want %d", id, code, i)
			}
			d.must("container", "rm", id)
			continue
		}
		if shim := d.shimOf(id); shim != shims[id] {
			t.Errorf("the shim of %s was %d and is %d", id, shims[id], shim)
		}
		if s := d.exec(id, "x", "sh", "-c", fmt.Sprintf("exit %d", i)); s.code() != i {
			t.Errorf("exec in %s: exit code %d, want %d: %s", id, s.code(), i, s.Err)
		}
		a := d.begin("task", "attach", id)
		a.write("word\n")
		a.expect(id + " got word\n")
		d.must("task", "kill", "-s", "KILL", id)
		if code := a.code(); code != 137 {
			t.Errorf("attach to %s ended with %d: %s", id, code, a.Err)
		}
		d.must("container", "rm", id)
	}
	// Some may have come before anybody could listen, but all came: that of each
	// container and of each exec, once.
	if n := forwarded(d, "exit"); n != containers+containers/2 {
		t.Errorf("%d exits were forwarded to containerd, want %d", n, containers+containers/2)
	}
}

// upgrades calls f after each change of the daemon for the next release, and once
// more for the last one started again.
func (d *daemon) upgrades(f func()) {
	d.t.Helper()
	all, err := releases()
	if err != nil {
		d.t.Fatal(err)
	}
	for i, next := range append(slices.Clone(all[1:]), all[len(all)-1]) {
		// As an upgrade of the package does, and as a crash in the midst of one.
		sig := syscall.SIGTERM
		if i%2 == 1 {
			sig = syscall.SIGKILL
		}
		d.down(sig)
		d.release = next
		d.up()
		f()
	}
}

func TestContainersLiveThroughEveryUpgrade(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage(nil, "snapshot", "sh", "-c", "while read line; do echo got $line; done; exit 5")
	d.run("paused", "sleep", "1000")
	d.must("task", "pause", "paused")
	d.must(d.execArgs([]string{"-d"}, "snapshot", "worker", "sleep", "2000")...)
	shims := map[string]int{"snapshot": d.shimOf("snapshot"), "paused": d.shimOf("paused")}
	count := 0
	d.upgrades(func() {
		count++
		for id, was := range shims {
			if shim := d.shimOf(id); shim != was {
				t.Errorf("%s: the shim of %s was %d and is %d", d.release, id, was, shim)
			}
		}
		d.status("paused", "PAUSED")
		d.status("snapshot", "RUNNING")
		exec := fmt.Sprintf("x%d", count)
		if s := d.exec("snapshot", exec, "sh", "-c", "cat /etc/motd; exit 3"); s.code() != 3 || s.Out.String() != "from the upper layer\n" {
			t.Errorf("%s: exec: %d, %q, %s", d.release, s.code(), s.Out, s.Err)
		}
		a := d.begin("task", "attach", "snapshot")
		a.write(exec + "\n")
		a.expect("got " + exec + "\n")
		a.kill()
		d.must("task", "metrics", "snapshot")
		// And what is new runs beside it.
		id := fmt.Sprintf("c%d", count)
		d.run(id, "sleep", "1000")
		shims[id] = d.shimOf(id)
	})
	d.must("task", "resume", "paused")
	d.must("task", "kill", "-s", "TERM", "--exec-id", "worker", "snapshot")
	d.event("snapshot", "exit worker 143")
	for id := range shims {
		d.finish(id)
	}
}

func TestAPodGrowsThroughEveryUpgrade(t *testing.T) {
	d := start(t)
	pid := d.runWith(d.grouped("pod"), "c0", "sleep", "1000")
	count := 0
	d.upgrades(func() {
		count++
		id := fmt.Sprintf("c%d", count)
		if got := d.runWith(d.grouped("pod"), id, "sleep", "1000"); got != pid {
			t.Errorf("%s: the shim of %s is %d, not the pod's, %d", d.release, id, got, pid)
		}
		if s := d.exec(id, "x", "sh", "-c", "exit 4"); s.code() != 4 {
			t.Errorf("%s: exec: exit code %d: %s", d.release, s.code(), s.Err)
		}
		// One of an older daemon's is ended and deleted by the new one.
		d.finish(fmt.Sprintf("c%d", count-1))
		if d.shimOf(id) != pid {
			t.Errorf("%s: the pod's shim is another", d.release)
		}
	})
	d.finish(fmt.Sprintf("c%d", count))
}
