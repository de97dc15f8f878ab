package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// idleThreads is what a shim has that is quiet.
const idleThreads = 7

// A fork bomb leaves nobody a pid, and threads need one as well. The shim does with
// those that it has, or waits until there are others.
func TestAShimOutlivesAMachineWithoutFreePids(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, NoOutput: true})
	c.Start()
	shim := c.HoldShim()
	threads := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/task", shim.Pid()))) }
	if n := threads(); n < idleThreads {
		t.Errorf("it has %d threads from the beginning, want %d", n, idleThreads)
	}
	for i := range 20 {
		if status, _ := c.ExecOutput("busy"+strconv.Itoa(i), "true"); status != 0 {
			t.Fatalf("exec: status %d", status)
		}
	}
	d.Eventually("the shim is quiet", func() error {
		if n := threads(); n > idleThreads {
			return fmt.Errorf("it has %d threads", n)
		}
		return nil
	})

	limit := limitPids(t, d, shim.Pid())
	limit(strconv.Itoa(threads()))
	end := time.Now().Add(3 * time.Second)
	var callers sync.WaitGroup
	callers.Go(func() { // a probe
		for i := 0; time.Now().Before(end); i++ {
			e, err := c.TryExec("probe"+strconv.Itoa(i), client.Streams{}, "true")
			if err != nil {
				t.Errorf("exec: %v", err)
				return
			}
			_, err = e.Process.Start(d.Ctx())
			if err == nil {
				if time.Now().Before(end) {
					t.Error("an exec started without a pid for its runtime: the test could not have failed")
				}
				e.Wait()
			} else if !strings.Contains(err.Error(), syscall.EAGAIN.Error()) {
				t.Errorf("start of an exec without a pid for its runtime: %v", err)
				return
			}
			e.Delete()
		}
	})
	for range 4 {
		callers.Go(func() { // its node's metrics
			for time.Now().Before(end) {
				if _, err := c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID}); err != nil {
					t.Errorf("stats: %v", err)
					return
				}
				if _, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID}); err != nil {
					t.Errorf("pids: %v", err)
					return
				}
			}
		})
	}
	<-time.After(time.Until(end))
	limit("max")
	callers.Wait()
	if status, _ := c.ExecOutput("after", "sh", "-c", "exit 3"); status != 3 {
		t.Errorf("exec when there are pids again: status %d", status)
	}
	c.Finish()
}

// limitPids puts a process into a group of its own, of which it returns how to set
// the limit of pids.
func limitPids(t *testing.T, d *harness.Daemon, pid int) (set func(string)) {
	t.Helper()
	top := "/sys/fs/cgroup/pids"
	if _, err := os.Stat(top); err != nil {
		top = "/sys/fs/cgroup"
	}
	was := top
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/cgroup", pid))) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if parts[1] == "pids" || parts[1] == "" && top == "/sys/fs/cgroup" {
			was = filepath.Join(top, parts[2])
		}
	}
	group := filepath.Join(top, d.Namespace+"-shim")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0); err != nil {
			t.Fatalf("a cgroup with the pids controller is missing: %v", err)
		}
	}
	write(filepath.Join(group, "cgroup.procs"), strconv.Itoa(pid))
	t.Cleanup(func() {
		_ = os.WriteFile(filepath.Join(was, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0) // it may have ended
		d.Eventually("removal of "+group, func() error { return syscall.Rmdir(group) })
	})
	return func(max string) { write(filepath.Join(group, "pids.max"), max) }
}
