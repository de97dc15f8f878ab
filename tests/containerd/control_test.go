package containerd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestKillLetsAProgramHandleTheSignal(t *testing.T) {
	d := start(t)
	s := d.attached(nil, "c", "sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done")
	s.expect("ready\n")
	d.shimOf("c")
	d.must("task", "kill", "-s", "TERM", "c")
	if code := s.code(); code != 9 {
		t.Errorf("exit code %d, want 9: %s", code, s.Err)
	}
	d.story("c", "create", "start", "exit 9", "delete 9")
}

func TestKillOfAllReachesEveryProcess(t *testing.T) {
	d := start(t)
	g := d.gate()
	// The child is in a session of its own, as a daemon's would be.
	s := d.attached(g.flags(), "c", "sh", "-c",
		"setsid sh -c 'trap \"touch /mnt/child; exit 0\" TERM; echo child; while :; do sleep 0.02; done' & "+
			"trap 'wait; exit 9' TERM; echo parent; while :; do sleep 0.02; done")
	s.expect("child\n")
	s.expect("parent\n")
	d.shimOf("c")
	d.must("task", "kill", "-a", "-s", "TERM", "c")
	if code := s.code(); code != 9 {
		t.Errorf("exit code %d, want 9", code)
	}
	if _, err := os.Stat(filepath.Join(g.dir, "child")); err != nil {
		t.Errorf("the child did not get the signal: %v", err)
	}
}

func TestKillOfWhatHasEndedSaysNotFound(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.must("task", "kill", "-s", "KILL", "c")
	d.stopped("c")
	// Clients of containerd 2 leave out the status, "not found".
	d.refused("process already finished", "task", "kill", "-s", "KILL", "c")
	d.remove("c")
	d.refused("not found", "task", "kill", "-s", "KILL", "c")
}

func TestExitCodesOfInitArrive(t *testing.T) {
	d := start(t)
	d.run("proof", "sleep", "1000")
	codes := []int{0, 1, 2, 7, 42, 125, 126, 127, 128, 137, 143, 254, 255}
	var wg sync.WaitGroup
	for _, code := range codes {
		wg.Go(func() {
			id := fmt.Sprintf("c%d", code)
			s, err := d.try("", d.runArgs([]string{"--rm"}, id, "sh", "-c", fmt.Sprintf("exit %d", code))...)
			if err != nil {
				t.Error(err)
				return
			}
			if got, _ := s.wait(); got != code {
				t.Errorf("exit %d arrived as %d: %s", code, got, s.Err)
			}
		})
	}
	wg.Wait()
	for _, code := range codes {
		d.event(fmt.Sprintf("c%d", code), fmt.Sprintf("exit %d", code))
	}
	d.finish("proof")
}

// A container's own pid namespace shields its init from most signals, so here
// init lives in another container's, as in a pod that shares one.
func TestDeathsOfInitBySignalArrive(t *testing.T) {
	d := start(t)
	d.run("holder", "sleep", "1000")
	shared := d.pidNamespace("holder")
	var wg sync.WaitGroup
	for _, sig := range deadly {
		id := "c-" + sig.name
		s := d.attached(shared, id, "sh", "-c", "echo ready; sleep 1000")
		s.expect("ready\n")
		d.shimOf(id)
		wg.Go(func() {
			if _, err := d.try("", "task", "kill", "-s", sig.name, id); err != nil {
				t.Error(err)
			}
			if code, err := s.wait(); err != nil || code != 128+sig.number {
				t.Errorf("death by %s arrived as %d (%v): %s", sig.name, code, err, s.Err)
			}
		})
	}
	wg.Wait()
	d.finish("holder")
}

// pidNamespace are the flags of `ctr run` for a container that shares the pid
// namespace of another one.
func (d *daemon) pidNamespace(of string) []string {
	d.t.Helper()
	holder, ok := d.task(of)
	if !ok {
		d.t.Fatalf("no task %s", of)
	}
	return []string{"--with-ns", fmt.Sprintf("pid:/proc/%d/ns/pid", holder.pid)}
}

func TestDeathsOfExecsBySignalArrive(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	var wg sync.WaitGroup
	for _, sig := range deadly {
		wg.Go(func() {
			s, err := d.try("", d.execArgs(nil, "c", "x-"+sig.name, "sh", "-c", fmt.Sprintf("kill -%d $$", sig.number))...)
			if err != nil {
				t.Error(err)
				return
			}
			if code, _ := s.wait(); code != 128+sig.number {
				t.Errorf("death by %s arrived as %d: %s", sig.name, code, s.Err)
			}
		})
	}
	wg.Wait()
	d.finish("c")
}

// deadly are signals whose default is death; the numbers are those of x86 and arm.
// QUIT is left out, which busybox's shell does not die of.
var deadly = []struct {
	name   string
	number int
}{
	{"HUP", 1}, {"INT", 2}, {"ILL", 4}, {"ABRT", 6}, {"FPE", 8}, {"KILL", 9}, {"USR1", 10},
	{"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
}

func TestWhatInitLeavesBehindInASharedPidNamespaceEndsWithIt(t *testing.T) {
	d := start(t)
	d.run("holder", "sleep", "1000")
	d.runWith(d.pidNamespace("holder"), "c", "sh", "-c", "setsid sleep 2000 & sleep 1000; true")
	d.eventually("the child runs", func() error {
		if n := len(strings.Split(strings.TrimSpace(d.must("task", "ps", "c")), "\n")); n != 1+3 {
			return fmt.Errorf("%w: %d lines", errNotYet, n)
		}
		return nil
	})
	group := d.cgroup("pids", "c")
	d.must("task", "kill", "-s", "KILL", "c")
	d.stopped("c")
	d.eventually("the container's cgroup is empty", func() error {
		b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if len(b) > 0 {
			return errNotYet
		}
		return err
	})
	d.remove("c")
	d.status("holder", "RUNNING")
	d.finish("holder")
}

func TestPauseFreezesAndResumeGoesOn(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", "while :; do echo >>/mnt/ticks; sleep 0.01; done")
	g.grows("ticks")
	d.must("task", "pause", "c")
	d.status("c", "PAUSED")
	frozen(t, d, "c", true)
	d.refused("paused", d.execArgs(nil, "c", "x", "true")...)
	ticks := g.count("ticks")
	d.refused("must be stopped", "task", "rm", "c")
	if now := g.count("ticks"); now != ticks {
		t.Errorf("a paused container went on, from %d to %d ticks", ticks, now)
	}
	d.must("task", "resume", "c")
	d.status("c", "RUNNING")
	frozen(t, d, "c", false)
	g.grows("ticks")
	if code := d.exec("c", "y", "true").code(); code != 0 {
		t.Errorf("exec after resume: exit code %d", code)
	}
	d.finish("c")
	d.story("c", "create", "start", "paused", "resumed",
		"exec-added y", "exec-started y", "exit y 0", "exit 137", "delete 137")
}

// frozen asks the kernel.
func frozen(t *testing.T, d *daemon, id string, want bool) {
	t.Helper()
	group := d.cgroup("freezer", id)
	state := "FROZEN"
	b, err := os.ReadFile(filepath.Join(group, "freezer.state"))
	if os.IsNotExist(err) {
		state = "frozen 1"
		b, err = os.ReadFile(filepath.Join(group, "cgroup.events"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Contains(string(b), state); got != want {
		t.Errorf("frozen is %v, want %v: %q", got, want, b)
	}
}

func TestAPausedContainerDiesOfSIGKILL(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	d.must("task", "pause", "c")
	d.status("c", "PAUSED")
	d.must("task", "kill", "-s", "KILL", "c")
	d.event("c", "exit 137")
	d.stopped("c")
	d.remove("c")
}

func TestMetricsAreThoseOfTheCgroup(t *testing.T) {
	d := start(t)
	d.runWith([]string{"--memory-limit", "67108864"}, "c", "sh", "-c", "sleep 1000 & sleep 1000; true")
	procs := filepath.Join(d.cgroup("pids", "c"), "cgroup.procs")
	d.eventually("the children run", func() error {
		b, err := os.ReadFile(procs)
		if err == nil && strings.Count(string(b), "\n") != 3 {
			err = errNotYet
		}
		return err
	})
	var m struct {
		Pids   struct{ Current json.Number }
		CPU    struct{ Usage struct{ Total json.Number } }
		Memory struct {
			Usage any // an object on cgroup v1, a number on v2
		}
	}
	text := d.must("task", "metrics", "--format", "json", "c")
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if m.Pids.Current != "3" {
		t.Errorf("pids %s, want 3: %s", m.Pids.Current, text)
	}
	if usage, ok := m.Memory.Usage.(map[string]any); ok {
		if limit := fmt.Sprintf("%.0f", usage["limit"]); limit != "67108864" {
			t.Errorf("memory limit %s, want 67108864: %s", limit, text)
		}
		if used, _ := usage["usage"].(float64); used <= 0 || used > 67108864 {
			t.Errorf("memory usage %v: %s", used, text)
		}
		if used, err := strconv.ParseUint(string(m.CPU.Usage.Total), 10, 64); err != nil || used == 0 {
			t.Errorf("CPU usage %q: %s", m.CPU.Usage.Total, text)
		}
	}
	table := d.must("task", "metrics", "c")
	for _, want := range []string{"ID", "TIMESTAMP", "memory.", "cpu", "pids.current"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in the table:\n%s", want, table)
		}
	}
	d.finish("c")
}

func TestACommandThatNeedsTooMuchMemoryIsToldAsOOMBeforeItsExit(t *testing.T) {
	d := start(t)
	d.run("proof", "sleep", "1000")
	// The shell lives within the limit; what it expands does not.
	s := d.attached([]string{"--memory-limit", "8388608"}, "c", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
	if code := s.code(); code != 137 {
		t.Errorf("exit code %d, want 137: %s", code, s.Err)
	}
	d.story("c", "create", "start", "oom", "exit 137", "delete 137")
	d.finish("proof")
}
