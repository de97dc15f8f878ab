package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// counting prints one number after the other and ends with 7 when it is told to.
var counting = []string{"sh", "-c", "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"}

// numbers are those that were printed.
func numbers(t *testing.T, o *harness.Output) []int {
	t.Helper()
	text := o.String()
	text = text[:strings.LastIndexByte(text, '\n')+1]
	var all []int
	for f := range strings.FieldsSeq(text) {
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// counted waits until so many numbers were printed.
func counted(t *testing.T, d *harness.Daemon, c *harness.Container, n int) {
	t.Helper()
	d.Eventually(fmt.Sprintf("%d numbers", n), func() error {
		if got := len(numbers(t, c.Out)); got < n {
			return fmt.Errorf("there are %d", got)
		}
		return nil
	})
}

// checkpoint fails the test unless the container is written down.
func checkpoint(t *testing.T, d *harness.Daemon, c *harness.Container, image string, o *runcopts.CheckpointOptions) {
	t.Helper()
	if err := c.Checkpoint(d.Ctx(), image, o); err != nil {
		t.Fatal(err)
	}
}

func pause(d *harness.Daemon, c *harness.Container) error {
	_, err := c.Shim.Task.Pause(d.Ctx(), &task.PauseRequest{Id: c.ContainerID})
	return err
}

func resume(d *harness.Daemon, c *harness.Container) error {
	_, err := c.Shim.Task.Resume(d.Ctx(), &task.ResumeRequest{Id: c.ContainerID})
	return err
}

func pidsOf(d *harness.Daemon, c *harness.Container) ([]*types.ProcessInfo, error) {
	r, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID})
	if err != nil {
		return nil, err
	}
	return r.Processes, nil
}

func stats(d *harness.Daemon, c *harness.Container) (*task.StatsResponse, error) {
	return c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID})
}

func TestAContainerGoesOnCountingWhereItWas(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	c := d.Run(counting...)
	counted(t, d, c, 10)
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	s, err := c.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_STOPPED || s.ExitStatus != 137 {
		t.Errorf("after a checkpoint with exit: %v, status %d", s.Status, s.ExitStatus)
	}
	if status := c.Wait(); status != 137 {
		t.Errorf("exit status %d", status)
	}
	c.Delete()
	d.WantStory(c, "create", "start", "exit 137", "checkpointed", "delete 137")

	// The second container has the files of the first: that one's shell is open.
	w := harness.Want{Args: counting, Checkpoint: image}
	r := d.CreateWant(w)
	s, err = r.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_CREATED || s.Pid != 0 {
		t.Errorf("before the start: %v, pid %d", s.Status, s.Pid)
	}
	pid := r.Start()
	counted(t, d, r, 10)
	if s, err = r.State(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_RUNNING || int(s.Pid) != pid || pid == 0 {
		t.Errorf("after the start: %v, pid %d, started as %d", s.Status, s.Pid, pid)
	}
	r.Kill(syscall.SIGTERM)
	if status := r.Wait(); status != 7 {
		t.Errorf("the restored shell ended with %d, want 7", status)
	}
	r.Delete()
	d.WantStory(r, "create", "start", "exit 7", "delete 7")
	all := slices.Concat(numbers(t, c.Out), numbers(t, r.Out))
	for i, n := range all {
		if n != i+1 {
			t.Fatalf("number %d is %d: %v", i+1, n, all)
		}
	}
	t.Logf("counted to %d, went on to %d", len(numbers(t, c.Out)), len(all))
}

func TestACheckpointLeavesTheContainerRunning(t *testing.T) {
	d := start(t)
	c := d.Run(counting...)
	counted(t, d, c, 5)
	for i := range 2 {
		image := filepath.Join(d.Dir, "image"+strconv.Itoa(i))
		checkpoint(t, d, c, image, nil)
		counted(t, d, c, len(numbers(t, c.Out))+5)
		if _, err := os.Stat(filepath.Join(image, "inventory.img")); err != nil {
			t.Error(err)
		}
	}
	if names := harness.Names(filepath.Join(c.Bundle.Path, "work")); len(names) > 0 {
		t.Errorf("left in the container's directory: %v", names)
	}
	c.Kill(syscall.SIGTERM)
	if status := c.Wait(); status != 7 {
		t.Errorf("exit status %d", status)
	}
	c.Delete()
	d.WantStory(c, "create", "start", "checkpointed", "checkpointed", "exit 7", "delete 7")
}

// As containerd's client does it.
func TestAPausedContainerIsWrittenDownAndStaysPaused(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	c := d.Run(counting...)
	counted(t, d, c, 5)
	if err := pause(d, c); err != nil {
		t.Fatal(err)
	}
	checkpoint(t, d, c, image, nil)
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_PAUSED {
		t.Errorf("after the checkpoint: %v, %v", s, err)
	}
	if err := resume(d, c); err != nil {
		t.Fatal(err)
	}
	counted(t, d, c, len(numbers(t, c.Out))+5)
	c.Finish()
	d.WantStory(c, "create", "start", "paused", "checkpointed", "resumed", "exit 137", "delete 137")

	// What was paused when it was written down runs when it is restored.
	r := d.CreateWant(harness.Want{Args: counting, Checkpoint: image})
	r.Start()
	counted(t, d, r, 5)
	r.Finish()
}

func TestARestoredContainerIsLikeAnyOther(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	c := d.Run(counting...)
	counted(t, d, c, 2)
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	c.Delete()

	r := d.CreateWant(harness.Want{Args: counting, Checkpoint: image})
	pid := r.Start()
	if code, out := r.ExecOutput("x", "sh", "-c", "echo hello; exit 3"); code != 3 || out != "hello\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
	pids, err := pidsOf(d, r)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(pids, func(p *types.ProcessInfo) bool { return int(p.Pid) == pid }) {
		t.Errorf("init's pid %d is not in %v", pid, pids)
	}
	if _, err := stats(d, r); err != nil {
		t.Errorf("stats: %v", err)
	}
	if err := pause(d, r); err != nil {
		t.Fatal(err)
	}
	if err := resume(d, r); err != nil {
		t.Fatal(err)
	}
	// It can be written down again, and restored from that.
	second := filepath.Join(d.Dir, "second")
	counted(t, d, r, 2)
	checkpoint(t, d, r, second, &runcopts.CheckpointOptions{Exit: true})
	r.Delete()
	again := d.CreateWant(harness.Want{Args: counting, Checkpoint: second})
	again.Start()
	counted(t, d, again, 2)
	all := slices.Concat(numbers(t, c.Out), numbers(t, r.Out), numbers(t, again.Out))
	for i, n := range all {
		if n != i+1 {
			t.Fatalf("number %d is %d: %v", i+1, n, all)
		}
	}
	again.Finish()
}

func TestATerminalIsRestored(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	stdin, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	args := []string{"sh", "-c", "while read line; do echo got $line; done"}
	c := d.CreateWant(harness.Want{Args: args, Streams: client.Streams{Terminal: true, Stdin: stdin}})
	c.Start()
	fmt.Fprintln(typed, "one")
	if err := c.Out.Wait(d.Ctx(), "got one"); err != nil {
		t.Fatal(err)
	}
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	c.Delete()

	stdin, typed, err = os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	r := d.CreateWant(harness.Want{Args: args, Streams: client.Streams{Terminal: true, Stdin: stdin}, Checkpoint: image})
	if err := r.Resize(d.Ctx(), 91, 37); err != nil {
		t.Fatal(err)
	}
	r.Start()
	fmt.Fprintln(typed, "two")
	if err := r.Out.Wait(d.Ctx(), "got two"); err != nil {
		t.Fatal(err)
	}
	e := r.Exec("x", "sh", "-c", "stty size </proc/1/fd/0")
	e.Start()
	e.Wait()
	e.Delete()
	if got := strings.TrimSpace(e.Out.String()); got != "37 91" {
		t.Errorf("the terminal's size is %q %q", got, e.Err)
	}
	r.Finish()
}

func TestStdinIsRestored(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	stdin, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	args := []string{"sh", "-c", "while read line; do echo got $line; echo err $line >&2; done; exit 5"}
	c := d.CreateWant(harness.Want{Args: args, Streams: client.Streams{Stdin: stdin}})
	c.Start()
	fmt.Fprintln(feed, "one")
	if err := c.Err.Wait(d.Ctx(), "err one"); err != nil {
		t.Fatal(err)
	}
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	c.Delete()

	r := d.CreateWant(harness.Want{Args: args, Streams: client.Streams{Stdin: strings.NewReader("two\n")}, Checkpoint: image})
	r.Start()
	// EOF after that line.
	if status := r.Wait(); status != 5 {
		t.Errorf("exit status %d, want 5", status)
	}
	r.Delete()
	if r.Out.String() != "got two\n" || r.Err.String() != "err two\n" {
		t.Errorf("out %q, err %q", r.Out, r.Err)
	}
}

func TestWhatIsToBeRestoredCanBeDeletedWithoutAStart(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	c := d.Run(counting...)
	checkpoint(t, d, c, image, nil)
	c.Finish()

	r := d.CreateWant(harness.Want{Args: counting, Checkpoint: image})
	pids, err := pidsOf(d, r)
	if err != nil || len(pids) > 0 {
		t.Errorf("pids: %v, %v", pids, err)
	}
	_, err = stats(d, r)
	d.WantCode("stats", err, codes.NotFound)
	d.WantCode("kill", r.Container.Kill(d.Ctx(), syscall.SIGKILL), codes.FailedPrecondition)
	d.WantCode("pause", pause(d, r), codes.FailedPrecondition)
	d.WantCode("checkpoint", r.Checkpoint(d.Ctx(), filepath.Join(d.Dir, "none"), nil), codes.FailedPrecondition)
	_, err = r.TryExec("x", client.Streams{}, "true")
	d.WantCode("exec", err, codes.FailedPrecondition)
	if names := harness.Names(filepath.Join(d.Dir, "none")); names != nil {
		t.Errorf("an image of nothing: %v", names)
	}
	if status := r.Delete(); status != 0 {
		t.Errorf("status %d", status)
	}
	d.WantStory(r, "create", "delete 0")
}

func TestTheRuntimeOptionsNameTheImageAndTheLogs(t *testing.T) {
	d := start(t)
	image, work := filepath.Join(d.Dir, "image"), filepath.Join(d.Dir, "work")
	c := d.Run(counting...)
	counted(t, d, c, 3)
	logs := filepath.Join(d.Dir, "logs")
	checkpoint(t, d, c, "", &runcopts.CheckpointOptions{Exit: true, ImagePath: image, WorkPath: logs})
	c.Delete()
	if !slices.Contains(harness.Names(logs), "dump.log") {
		t.Errorf("in the work path: %v", harness.Names(logs))
	}

	r := d.CreateWant(harness.Want{Args: counting, Options: &runcopts.Options{CriuImagePath: image, CriuWorkPath: work}})
	r.Start()
	counted(t, d, r, 3)
	if !slices.Contains(harness.Names(work), "restore.log") {
		t.Errorf("in the work path: %v", harness.Names(work))
	}
	if first := numbers(t, r.Out)[0]; first != len(numbers(t, c.Out))+1 {
		t.Errorf("went on with %d after %v", first, numbers(t, c.Out))
	}
	r.Finish()
}
