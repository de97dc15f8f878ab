package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// The environment variable by which this test's binary lives among few pids.
const fewPidsEnv = "HOLDFAST_TEST_FEW_PIDS"

// containerd 9175, moby 53211: a process gets the number of one that has just
// ended, and the other's exit with it. Here all of it, daemon, shim, runtimes and
// containers, is in a pid namespace whose kernel gives the lowest number that is
// free, so that each is used again at once.
func TestARecycledPidTakesNobodysExit(t *testing.T) {
	if os.Getenv(fewPidsEnv) != "" {
		amongFewPids(t)
		return
	}
	shim := harness.Shim(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The shell reaps what nobody else does.
	cmd := exec.Command("unshare", "--fork", "--pid", "--mount-proc",
		"sh", "-c", `"$0" "$@"; exit $?`, self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), fewPidsEnv+"=1", "HOLDFAST_SHIM="+shim)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("among few pids: %v\n%s", err, out)
	}
}

// wellUsed is a number above those of what lives as long as the test.
const wellUsed = "60"

func amongFewPids(t *testing.T) {
	stop := make(chan struct{})
	var rewinding sync.WaitGroup
	defer rewinding.Wait()
	defer close(stop)
	rewinding.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(wellUsed), 0); err != nil {
				t.Errorf("a kernel with CONFIG_CHECKPOINT_RESTORE is missing: %v", err)
				return
			}
		}
	})
	d := harness.New(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "100000"}})
	pod.Start()
	used := &uses{of: make(map[int]int)}
	const workers, lives = 4, 12
	var working sync.WaitGroup
	for worker := range workers {
		working.Go(func() {
			for i := range lives {
				if err := shortLife(d, pod, used, worker, i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
	pod.Finish()
	if used.again() == 0 {
		t.Error("no number was used twice, so that nothing was tested")
	}
	t.Logf("%d numbers were used more than once", used.again())
}

// uses counts how often a number was a process's.
type uses struct {
	mu sync.Mutex // guards of
	of map[int]int
}

func (u *uses) add(pid int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.of[pid]++
}

// again is how many numbers were used more than once.
func (u *uses) again() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for _, times := range u.of {
		if times > 1 {
			n++
		}
	}
	return n
}

// shortLife is that of an exec in the pod, and each fourth time of a container
// beside it, which end at once with a status of their own.
func shortLife(d *harness.Daemon, pod *harness.Container, used *uses, worker, i int) error {
	want := uint32(1 + worker*50 + i)
	program := []string{"sh", "-c", fmt.Sprintf("exit %d", want)}
	if i%4 == 3 {
		c, err := d.TryCreate(harness.Want{ID: fmt.Sprintf("c%d-%d", worker, i), Args: program, Sandbox: pod})
		if err != nil {
			return err
		}
		pid, err := c.Container.Start(d.Ctx())
		if err != nil {
			return err
		}
		used.add(pid)
		got, _, err := c.Container.Wait(d.Ctx())
		if err == nil && got != want {
			err = fmt.Errorf("container of process %d ended with %d, want %d", pid, got, want)
		}
		_, deleted := c.Container.Delete(d.Ctx())
		return errors.Join(err, deleted)
	}
	e, err := pod.TryExec(fmt.Sprintf("x%d-%d", worker, i), client.Streams{}, program...)
	if err != nil {
		return err
	}
	pid, err := e.Process.Start(d.Ctx())
	if err != nil {
		return err
	}
	used.add(pid)
	got, _, err := e.Process.Wait(d.Ctx())
	if err == nil && got != want {
		err = fmt.Errorf("exec of process %d ended with %d, want %d", pid, got, want)
	}
	_, deleted := e.Process.Delete(d.Ctx())
	return errors.Join(err, deleted)
}
