package stress

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// atATime is how many are under way at any moment.
const atATime = 8

// times is how often to do what a test does.
func times(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HOLDFAST_STRESS")
	if text == "" {
		return 200
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("HOLDFAST_STRESS=%q: want a number above zero", text)
	}
	return n
}

// start starts a daemon as root; elsewhere the harness leaves tests out, but
// these pass with root or not at all.
func start(t *testing.T) *harness.Daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("containers need root")
	}
	return harness.New(t)
}

// each calls f for 0 to n-1, atATime at a time, and tells the errors. After some
// errors it gives up: the rest would be the same.
func each(t *testing.T, n int, f func(int) error) {
	t.Helper()
	const enough = 10
	begun := time.Now()
	var failures atomic.Int32
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range atATime {
		wg.Go(func() {
			for i := range numbers {
				if failures.Load() >= enough {
					continue
				}
				if err := f(i); err != nil {
					failures.Add(1)
					t.Errorf("number %d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	took := time.Since(begun)
	t.Logf("%d in %v, %d at a time: %.1f a second", n, took.Round(time.Millisecond), atATime, float64(n)/took.Seconds())
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), harness.Patience,
		fmt.Errorf("it did not happen within %v", harness.Patience))
}

// containerd 7111: an exit that comes before its start.
func TestEveryShortContainerTellsItsWholeStoryInOrder(t *testing.T) {
	d, n := start(t), times(t)
	each(t, n, func(i int) error { return oneContainer(d, fmt.Sprintf("c%d", i)) })
	if t.Failed() {
		return
	}
	want := []string{"create", "start", "exit 0", "delete 0"}
	stories := tell(d, n*len(want))
	for i := range n {
		if got := stories[fmt.Sprintf("c%d", i)]; !slices.Equal(got, want) {
			t.Errorf("story of c%d: %q, want %q", i, got, want)
		}
	}
	if len(stories) != n {
		t.Errorf("%d stories of %d containers", len(stories), n)
	}
}

// oneContainer is the life of a container that has nothing to do.
func oneContainer(d *harness.Daemon, id string) error {
	ctx, cancel := patience()
	defer cancel()
	c, err := d.TryCreate(harness.Want{ID: id, Args: []string{"/bin/true"}})
	if err != nil {
		return err
	}
	if _, err := c.Container.Start(ctx); err != nil {
		return err
	}
	status, at, err := c.Container.Wait(ctx)
	if err != nil {
		return err
	}
	if status != 0 || at.IsZero() {
		return fmt.Errorf("status %d at %v", status, at)
	}
	r, err := c.Container.Delete(ctx)
	if err != nil {
		return err
	}
	if r.ExitStatus != 0 || r.Pid == 0 {
		return fmt.Errorf("delete told %+v", r)
	}
	return nil
}

// containerd 8557: execs that wait for each other; 13561 and ttrpc 236: what
// every exec leaves in the shim.
func TestEveryShortExecTellsItsWholeStoryInOrder(t *testing.T) {
	d, n := start(t), times(t)
	c := d.Run("sleep", "100000")
	shim, err := c.Shim.Pid(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	// What is made once is made by the first.
	each(t, atATime, func(i int) error { return oneExec(c, fmt.Sprintf("first%d", i), i) })
	before := files(t, shim)
	each(t, n, func(i int) error { return oneExec(c, fmt.Sprintf("x%d", i), i) })
	d.Eventually("the shim holds no more files than before", func() error {
		if now := files(t, shim); now > before {
			return fmt.Errorf("%d files, and %d before", now, before)
		}
		return nil
	})
	c.Finish()
	if t.Failed() {
		return
	}
	init := []string{"create", "start", "exit 137", "delete 137"}
	stories := tell(d, 3*(n+atATime)+len(init))
	if got := stories[c.ContainerID]; !slices.Equal(got, init) {
		t.Errorf("story of init: %q, want %q", got, init)
	}
	for i := range n {
		id := fmt.Sprintf("x%d", i)
		want := []string{"exec-added", "exec-started", fmt.Sprintf("exit %d", i%256)}
		if got := stories[c.ContainerID+" "+id]; !slices.Equal(got, want) {
			t.Errorf("story of %s: %q, want %q", id, got, want)
		}
	}
}

// oneExec is the life of an exec that says its number and ends with it.
func oneExec(c *harness.Container, id string, number int) error {
	ctx, cancel := patience()
	defer cancel()
	e, err := c.TryExec(id, client.Streams{}, "sh", "-c", fmt.Sprintf("echo %d; exit %d", number, number%256))
	if err != nil {
		return err
	}
	if _, err := e.Process.Start(ctx); err != nil {
		return err
	}
	status, at, err := e.Process.Wait(ctx)
	if err != nil {
		return err
	}
	r, err := e.Process.Delete(ctx)
	if err != nil {
		return err
	}
	want := uint32(number % 256)
	if out := e.Out.String(); status != want || r.ExitStatus != want || at.IsZero() || out != fmt.Sprintf("%d\n", number) {
		return fmt.Errorf("status %d, deleted with %d, at %v, %q, %q", status, r.ExitStatus, at, out, e.Err)
	}
	return nil
}

// tell waits until that many events have come and sorts them by whose they are,
// an exec's by its container's id and its own. An event that comes twice is
// there twice.
func tell(d *harness.Daemon, events int) map[string][]string {
	d.Eventually(fmt.Sprintf("all %d events have come", events), func() error {
		if n := len(d.Events.All()); n < events {
			return fmt.Errorf("%d have", n)
		}
		return nil
	})
	stories := make(map[string][]string)
	for _, e := range d.Events.All() {
		who := e.ContainerID
		if e.ExecID != "" {
			who += " " + e.ExecID
		}
		line := strings.TrimPrefix(e.Topic, "/tasks/")
		if e.Topic == client.TopicExit || e.Topic == client.TopicDelete {
			line += fmt.Sprintf(" %d", e.ExitStatus)
		}
		stories[who] = append(stories[who], line)
	}
	return stories
}

// files counts a process's open files.
func files(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
