package tests

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// The tests of this file are for both versions of control groups: what is said of
// a container is compared with the kernel's files, whichever of them there are.

// cgroupDirs are the container's directories, one in each hierarchy.
func cgroupDirs(t *testing.T, d *harness.Daemon, c *harness.Container) []string {
	t.Helper()
	name := filepath.Join(d.Namespace, c.ContainerID)
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if v2 := filepath.Join("/sys/fs/cgroup", name); len(dirs) == 0 {
		dirs = []string{v2}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// unified says whether the container's controllers are version 2's.
func unified(t *testing.T, d *harness.Daemon, c *harness.Container) bool {
	t.Helper()
	return len(cgroupDirs(t, d, c)) == 1
}

// nest moves a process of the container into a group two levels below the
// container's, in each hierarchy, as a container that runs an init system has them.
func nest(t *testing.T, d *harness.Daemon, c *harness.Container, pid int) {
	t.Helper()
	for _, dir := range cgroupDirs(t, d, c) {
		for _, name := range []string{"inner", "most"} {
			above := dir
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			// cpuset of version 1 takes nobody before it has these.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(filepath.Join(above, file))
				if err != nil || len(bytes.TrimSpace(b)) == 0 {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), b, 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// nobodyIn waits until no process is in the container's group and those nested in
// it, or they are gone.
func nobodyIn(d *harness.Daemon, dirs []string) {
	d.Eventually("an empty cgroup", func() error {
		for _, top := range dirs {
			for _, dir := range []string{top, top + "/inner", top + "/inner/most"} {
				b, err := os.ReadFile(dir + "/cgroup.procs")
				if err == nil && len(bytes.TrimSpace(b)) > 0 {
					return fmt.Errorf("processes %q are in %s", b, dir)
				}
			}
		}
		return nil
	})
}

// pidsOf is what the shim answers, in order.
func pidsOf(t *testing.T, d *harness.Daemon, c *harness.Container) []int {
	t.Helper()
	r, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID})
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, p := range r.Processes {
		pids = append(pids, int(p.Pid))
	}
	slices.Sort(pids)
	return pids
}

// frozen says whether the kernel has stopped the container.
func frozen(t *testing.T, d *harness.Daemon, c *harness.Container) bool {
	t.Helper()
	state := readFile(t, cgroupFile(t, d, c, "freezer", "freezer.state", "cgroup.events"))
	return state == "FROZEN\n" || strings.Contains(state, "frozen 1\n")
}

func wantStatus(t *testing.T, d *harness.Daemon, c *harness.Container, want types.Status) {
	t.Helper()
	if s, err := c.State(d.Ctx()); err != nil || s.Status != want {
		t.Errorf("state is %v, %v, want %v", s, err, want)
	}
}

// ready starts a container that prints "ready" when it has become what it is to be.
func ready(t *testing.T, d *harness.Daemon, w harness.Want) *harness.Container {
	t.Helper()
	c := d.CreateWant(w)
	c.Start()
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPidsAndKillReachNestedGroups(t *testing.T) {
	d := harness.New(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		// Init outlives SIGTERM: the others are to end by the signal and not with it.
		c := ready(t, d, harness.Want{Args: []string{"sh", "-c", "trap : TERM; sleep 1000 & echo ready; wait; exec sleep 1000"}})
		e := c.Exec("x", "sleep", "1000")
		e.Start()
		all := pidsOf(t, d, c)
		if len(all) != 3 {
			t.Fatalf("pids %v, want three", all)
		}
		for _, pid := range all {
			if pid != pidOf(t, d, c) {
				nest(t, d, c, pid)
				break
			}
		}
		if got := pidsOf(t, d, c); !slices.Equal(got, all) {
			t.Errorf("with one in a nested group: pids %v, want %v", got, all)
		}
		if err := c.KillAll(d.Ctx(), sig); err != nil {
			t.Fatal(err)
		}
		if got, want := e.Wait(), 128+uint32(sig); got != want {
			t.Errorf("the exec's status is %d, want %d", got, want)
		}
		e.Delete()
		if sig == syscall.SIGTERM {
			d.Eventually("the end of all but init", func() error {
				if pids := pidsOf(t, d, c); len(pids) != 1 {
					return fmt.Errorf("pids %v", pids)
				}
				return nil
			})
			wantStatus(t, d, c, types.Status_RUNNING)
			c.Kill(syscall.SIGKILL)
		}
		if got := c.Wait(); got != 137 {
			t.Errorf("init's status is %d", got)
		}
		c.Delete()
	}
}

// On version 1 a nested group is frozen by the one above it, and what is frozen
// does not die.
func TestAPausedContainerDiesWithAllItsGroups(t *testing.T) {
	d := harness.New(t)
	for _, all := range []bool{false, true} {
		c := ready(t, d, harness.Want{Args: []string{"sh", "-c", "sleep 1000 & echo ready; wait"}})
		e := c.Exec("x", "sleep", "1000")
		e.Start()
		nest(t, d, c, pidsOf(t, d, c)[1])
		pause(d, c)
		if got := pidsOf(t, d, c); len(got) != 3 {
			t.Errorf("paused: pids %v, want three", got)
		}
		kill := c.Container.Kill
		if all {
			kill = c.KillAll
		}
		if err := kill(d.Ctx(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := e.Wait(); got != 137 {
			t.Errorf("the exec's status is %d", got)
		}
		if got := c.Wait(); got != 137 {
			t.Errorf("init's status is %d", got)
		}
		e.Delete()
		c.Delete()
		d.WantStory(c, "create", "start", "exec-added x", "exec-started x", "paused", "exit x 137", "exit 137", "delete 137")
	}
}

// The kernel of a machine without memory, or its administrator, asks no shim. What is
// frozen by version 1 dies when it is thawed, by version 2 at once.
func TestAPausedContainerThatSomebodyElseKillsIsDeleted(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	pause(d, c)
	init, err := client.HoldPid(pidOf(t, d, c))
	if err != nil {
		t.Fatal(err)
	}
	defer init.Close()
	if err := init.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if !unified(t, d, c) {
		if _, err := c.Shim.Task.Resume(d.Ctx(), &task.ResumeRequest{Id: c.ContainerID}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

func TestAPausedContainerIsFrozenAndAnswersWhenResumed(t *testing.T) {
	d := harness.New(t)
	stdin, line, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	c := ready(t, d, harness.Want{
		Args:    []string{"sh", "-c", "echo ready; while read word; do echo heard $word; done"},
		Streams: client.Streams{Stdin: stdin},
	})
	for i := range 3 {
		pause(d, c)
		wantStatus(t, d, c, types.Status_PAUSED)
		if !frozen(t, d, c) {
			t.Fatal("the container is paused, and its processes are not stopped")
		}
		// Who looks at a container may do so at any time.
		if got := pidsOf(t, d, c); len(got) != 1 {
			t.Errorf("paused: pids %v", got)
		}
		if _, err := c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID}); err != nil {
			t.Error(err)
		}
		if _, err := c.Shim.Task.Pause(d.Ctx(), &task.PauseRequest{Id: c.ContainerID}); err == nil {
			t.Error("paused a second time")
		}
		fmt.Fprintln(line, i)
		if heard := fmt.Sprint("heard ", i); strings.Contains(c.Out.String(), heard) {
			t.Errorf("a frozen process said %q", heard)
		}
		if _, err := c.Shim.Task.Resume(d.Ctx(), &task.ResumeRequest{Id: c.ContainerID}); err != nil {
			t.Fatal(err)
		}
		wantStatus(t, d, c, types.Status_RUNNING)
		if err := c.Out.Wait(d.Ctx(), fmt.Sprint("heard ", i)); err != nil {
			t.Fatal(err)
		}
		if frozen(t, d, c) {
			t.Error("the container is resumed, and frozen")
		}
	}
	c.Finish()
}

// limit is what Update can limit: the file that tells it, and what it holds then,
// by version 1 and by version 2. Where that is empty, runtimes differ in how they
// reckon it.
type limit struct {
	name       string
	r          client.SpecResources
	controller string
	file       [2]string
	value      [2]string
}

func limits() []limit {
	return []limit{
		{
			"memory", client.SpecResources{Memory: &client.SpecMemory{Limit: ptr(int64(96 << 20))}},
			"memory", [2]string{"memory.limit_in_bytes", "memory.max"}, [2]string{"100663296", "100663296"},
		}, {
			"CPU quota", client.SpecResources{CPU: &client.SpecCPU{Quota: ptr(int64(40000)), Period: ptr(uint64(80000))}},
			"cpu", [2]string{"cpu.cfs_quota_us", "cpu.max"}, [2]string{"40000", "40000 80000"},
		}, {
			"CPU shares", client.SpecResources{CPU: &client.SpecCPU{Shares: ptr(uint64(512))}},
			"cpu", [2]string{"cpu.shares", "cpu.weight"}, [2]string{"512", ""},
		}, {
			"pids", client.SpecResources{Pids: &client.SpecPids{Limit: 55}},
			"pids", [2]string{"pids.max", "pids.max"}, [2]string{"55", "55"},
		},
	}
}

// An update of a paused container leaves it paused: what runs it was paused for.
func TestUpdateChangesEveryLimitAndNothingElse(t *testing.T) {
	for _, paused := range []bool{false, true} {
		t.Run(fmt.Sprint("paused ", paused), func(t *testing.T) {
			d := harness.New(t)
			c := d.Run("sleep", "1000")
			if paused {
				pause(d, c)
			}
			values := func() map[string]string {
				all := make(map[string]string)
				for _, l := range limits() {
					all[l.name] = strings.TrimSpace(readFile(t, cgroupFile(t, d, c, l.controller, l.file[0], l.file[1])))
				}
				return all
			}
			version := 0
			if unified(t, d, c) {
				version = 1
			}
			for _, l := range limits() {
				before := values()
				_, err := c.Shim.Task.Update(d.Ctx(), &task.UpdateTaskRequest{Id: c.ContainerID, Resources: resources(t, l.r)})
				if err != nil {
					t.Fatalf("%s: %v", l.name, err)
				}
				after := values()
				switch got, want := after[l.name], l.value[version]; {
				case got == before[l.name]:
					t.Errorf("%s is %q, as before", l.name, got)
				case want != "" && got != want:
					t.Errorf("%s is %q, want %q", l.name, got, want)
				}
				for name, was := range before {
					if name != l.name && after[name] != was {
						t.Errorf("an update of %s made %s %q, which was %q", l.name, name, after[name], was)
					}
				}
				if frozen(t, d, c) != paused {
					t.Errorf("after the update of %s the container is frozen: %v", l.name, !paused)
				}
			}
			if paused {
				wantStatus(t, d, c, types.Status_PAUSED)
			}
			c.Finish()
		})
	}
}

// Left processes: containerd 3149, 11231. The pod's containers share one pid
// namespace, as with shareProcessNamespace of Kubernetes.
func TestInAPodsPidNamespaceEveryProcessEndsWithInitAndNoOther(t *testing.T) {
	d := harness.New(t)
	pod := d.Run("sleep", "1000")
	shared := harness.Want{Sandbox: pod, Join: true, Edit: func(s *client.Spec) {
		for i, n := range s.Linux.Namespaces {
			if n.Type == "pid" {
				s.Linux.Namespaces[i].Path = fmt.Sprintf("/proc/%d/ns/pid", pidOf(t, d, pod))
			}
		}
	}}
	run := func(args ...string) *harness.Container {
		shared.Args = args
		return ready(t, d, shared)
	}
	other := run("sh", "-c", "sleep 1000 & echo ready; wait")
	c := run("sh", "-c", "setsid sleep 1000 & echo ready; exec sleep 1000")
	e := c.Exec("x", "sh", "-c", "setsid sleep 1000 & exec sleep 1000")
	e.Start()
	d.Eventually("four processes", func() error {
		if all := pidsOf(t, d, c); len(all) != 4 {
			return fmt.Errorf("pids %v", all)
		}
		return nil
	})
	all := pidsOf(t, d, c)
	init := pidOf(t, d, c)
	i := slices.IndexFunc(all, func(pid int) bool { return pid != init })
	nest(t, d, c, all[i])
	dirs := cgroupDirs(t, d, c)

	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	nobodyIn(d, dirs) // without any Delete
	wantStatus(t, d, pod, types.Status_RUNNING)
	wantStatus(t, d, other, types.Status_RUNNING)
	if got := pidsOf(t, d, other); len(got) != 2 {
		t.Errorf("pids of the other container: %v", got)
	}
	e.Delete()
	c.Delete()
	other.Finish()
	pod.Finish()
	d.WantStory(c, "create", "start", "exec-added x", "exec-started x", "exit x 137", "exit 137", "delete 137")
}

func pidOf(t *testing.T, d *harness.Daemon, c *harness.Container) int {
	t.Helper()
	s, err := c.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if s.Pid == 0 {
		t.Fatalf("%s has no pid", c.ContainerID)
	}
	return int(s.Pid)
}

// On a machine without time for those who are dying, runc gives up on removing their
// group and answers that all is well.
func TestACgroupThatTheRuntimeLeftIsRemoved(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	c.Start()
	dirs := cgroupDirs(t, d, c)
	c.Kill(syscall.SIGKILL)
	c.Wait()
	stub.Set(map[string]harness.Fault{"delete": {Times: 1, After: true, Mark: stub.File("deleted"), Until: stub.File("go")}})
	done := make(chan error, 1)
	go func() {
		_, err := c.Container.Delete(d.Ctx())
		done <- err
	}()
	stub.WaitFile(d, "deleted")
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, "inner"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stub.Touch("go")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
