package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

const oomLimit = 16 << 20

// limited is a container with little memory and no swap.
func limited(args ...string) harness.Want {
	return harness.Want{Args: args, Edit: limitMemory}
}

func limitMemory(s *client.Spec) {
	limit := int64(oomLimit)
	s.Linux.Resources.Memory = &client.SpecMemory{Limit: &limit, Swap: &limit}
}

func runLimited(d *harness.Daemon, args ...string) *harness.Container {
	c := d.CreateWant(limited(args...))
	c.Start()
	return c
}

// wantOOM waits until the container's story is told and fails the test unless it is
// create, start, one OOM or more, exit and delete with that status. The kernel may
// kill a second process of the container before the memory of the first is free.
func wantOOM(d *harness.Daemon, t *testing.T, c *harness.Container, status uint32) {
	t.Helper()
	d.WaitEvent(c, fmt.Sprint("delete ", status))
	got := d.Story(c.ContainerID)
	want := []string{"create", "start", "oom", fmt.Sprint("exit ", status), fmt.Sprint("delete ", status)}
	if !slices.Equal(slices.Compact(slices.Clone(got)), want) {
		t.Errorf("story of %s: %q, want %q", c.ContainerID, got, want)
	}
}

// ooms is how often a container runs out of memory at once: 12 times, or as often
// as HOLDFAST_OOMS says.
func ooms(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HOLDFAST_OOMS")
	if text == "" {
		return 12
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("HOLDFAST_OOMS=%q: want a number above zero", text)
	}
	return n
}

// What users miss elsewhere (containerd 6323, 8893, 12714): a container that is
// killed at once is reported as ended by Error, because its exit outran its OOM.
func TestAnInstantOOMIsToldBeforeTheExit(t *testing.T) {
	rounds := ooms(t)
	const eat = "head -c 200m /dev/zero | tail"
	variants := [][]string{
		{"tail", "/dev/zero"},          // init is killed
		{"sh", "-c", eat},              // its child is
		{"sh", "-c", eat + "; exit 0"}, // and its status does not tell
	}
	d := harness.New(t)
	for i := range rounds {
		c := runLimited(d, variants[i%len(variants)]...)
		status := c.Wait()
		c.Delete()
		wantOOM(d, t, c, status)
	}
	t.Logf("%d instant OOMs, each told before its exit", rounds)
}

func TestManyContainersOfAPodRunOutOfMemoryAtOnce(t *testing.T) {
	d := harness.New(t)
	pod := d.Run("sleep", "1000")
	var all []*harness.Container
	for range 8 {
		w := limited("tail", "/dev/zero")
		w.Sandbox, w.Join = pod, true
		all = append(all, d.CreateWant(w))
	}
	for _, c := range all {
		c.Start()
	}
	for _, c := range all {
		c.Wait()
		c.Delete()
		wantOOM(d, t, c, 137)
	}
	pod.Finish()
	d.WantStory(pod, "create", "start", "exit 137", "delete 137")
}

func TestAnOOMIsToldWhileTheContainerLives(t *testing.T) {
	d := harness.New(t)
	// The kernel never chooses init: the other wants to be killed, and its memory is
	// free before the next one's turn.
	w := limited("sh", "-c", "while read turn; do (echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero); echo $turn: $?; done; exec sleep 1000")
	stdin, turns, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer turns.Close()
	w.Streams.Stdin = stdin
	c := d.CreateWant(w)
	c.Start()
	want := []string{"create", "start"}
	for turn := range 3 {
		if _, err := fmt.Fprintln(turns, turn); err != nil {
			t.Fatal(err)
		}
		want = append(want, "oom")
		d.WantStory(c, want...)
		if err := c.Out.Wait(d.Ctx(), fmt.Sprintf("%d: 137\n", turn)); err != nil {
			t.Fatalf("%v, in %q", err, c.Out.String())
		}
	}
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
		t.Errorf("init: %v, %v", s, err)
	}
	c.Finish()
	d.WantStory(c, append(want, "exit 137", "delete 137")...)
}

func TestAnOOMOfAnExecIsToldBeforeTheExecsExit(t *testing.T) {
	d := harness.New(t)
	c := runLimited(d, "sleep", "1000")
	want := []string{"create", "start"}
	for i := range 10 {
		id := fmt.Sprintf("x%d", i)
		e := c.Exec(id, "tail", "/dev/zero")
		e.Start()
		if got := e.Wait(); got != 137 {
			t.Errorf("status %d", got)
		}
		e.Delete()
		d.WaitEvent(c, "exit "+id+" 137")
		want = append(want, "exec-added "+id, "exec-started "+id, "oom", "exit "+id+" 137")
		story := d.Story(c.ContainerID)
		if n := len(want); len(story) >= n && story[n-3] == "oom" && story[n-2] == "exec-started "+id {
			// Killed before the runtime had told that it runs.
			want[n-3], want[n-2] = want[n-2], want[n-3]
		}
		d.WantStory(c, want...)
	}
	c.Finish()
	d.WantStory(c, append(want, "exit 137", "delete 137")...)
}

func TestAnOrdinaryKillIsNoOOM(t *testing.T) {
	d := harness.New(t)
	c := runLimited(d, "sleep", "1000")
	e := c.Exec("x", "sleep", "1000")
	e.Start()
	if err := e.Kill(d.Ctx(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.Wait()
	e.Delete()
	c.Kill(syscall.SIGKILL)
	c.Wait()
	c.Delete()
	d.WantStory(c, "create", "start", "exec-added x", "exec-started x", "exit x 137", "exit 137", "delete 137")
}

// The pod's limit is above the containers': who was killed is what counts.
func TestAnOOMOfThePodIsToldOfTheContainerItHit(t *testing.T) {
	d := harness.New(t)
	in := func(name string) func(*client.Spec) {
		return func(s *client.Spec) {
			s.Linux.CgroupsPath = filepath.Join("/", d.Namespace, "pod", name)
		}
	}
	spared := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Edit: in("spared")})
	spared.Start()
	limitPod(t, d)
	for range 3 {
		hit := d.CreateWant(harness.Want{
			Args: []string{"tail", "/dev/zero"}, Edit: in("hit"), Sandbox: spared, Join: true,
		})
		hit.Start()
		hit.Wait()
		hit.Delete()
		d.WantStory(hit, "create", "start", "oom", "exit 137", "delete 137")
	}
	spared.Finish()
	d.WantStory(spared, "create", "start", "exit 137", "delete 137")
}

// limitPod gives little memory to the group that the containers of a test are in,
// and removes it when they are gone.
func limitPod(t *testing.T, d *harness.Daemon) {
	t.Helper()
	dirs, err := filepath.Glob("/sys/fs/cgroup/*/" + d.Namespace + "/pod")
	if err != nil {
		t.Fatal(err)
	}
	dirs = append(dirs, filepath.Join("/sys/fs/cgroup", d.Namespace, "pod"))
	limits := 0
	for _, dir := range dirs {
		for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
			path := filepath.Join(dir, file)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			// The runtime needs some too.
			if err := os.WriteFile(path, []byte(strconv.Itoa(4*oomLimit)), 0); err != nil {
				t.Fatal(err)
			}
			limits++
		}
	}
	if limits != 1 {
		t.Fatalf("%d limits of memory in %q", limits, dirs)
	}
	t.Cleanup(func() {
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && !os.IsNotExist(err) {
				t.Errorf("remove %s: %v", dir, err)
			}
		}
	})
}

func TestWatchingForOOMLeavesNothingBehindInTheShim(t *testing.T) {
	d := harness.New(t)
	pod := d.Run("sleep", "1000")
	shim := pod.HoldShim()
	files := func() []string {
		var all []string
		for _, name := range harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid())) {
			target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", shim.Pid(), name))
			if err == nil {
				all = append(all, target)
			}
		}
		slices.Sort(all)
		return all
	}
	before := files()
	for range 5 {
		w := limited("tail", "/dev/zero")
		w.Sandbox, w.Join = pod, true
		c := d.CreateWant(w)
		c.Start()
		c.Wait()
		c.Delete()
	}
	d.Eventually("the shim's files are what they were", func() error {
		if after := files(); len(after) != len(before) {
			return fmt.Errorf("%q, before %q", after, before)
		}
		return nil
	})
	pod.Finish()
}
