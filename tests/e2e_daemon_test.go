package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// Lost exits: containerd 4400 and 6771.
func TestWhatHappensWhileTheDaemonIsAwayIsToldWhenItIsBack(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	var execs []*harness.Exec
	for i := range 5 {
		e := c.Exec(fmt.Sprintf("x%d", i), "sleep", "1000")
		e.Start()
		execs = append(execs, e)
	}
	pids := make([]int, 0, len(execs))
	for _, e := range execs {
		s, err := e.State(d.Ctx())
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, int(s.Pid))
	}
	init, err := c.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	before := d.Story(c.ContainerID)

	d.Down()
	// One after the other, so that the order of their exits is known.
	for _, pid := range append(pids, int(init.Pid)) {
		killAndWait(t, d, pid)
	}
	if got := d.Story(c.ContainerID); !slices.Equal(got, before) {
		t.Fatalf("events came to a daemon that is away: %q", got)
	}

	d.Up()
	d.WantStory(c, append(before, "exit x0 137", "exit x1 137", "exit x2 137", "exit x3 137", "exit x4 137", "exit 137")...)
	for _, e := range execs {
		e.Again(c)
		e.Delete()
	}
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

// killAndWait kills a process behind the shim's back and waits until it is gone.
func killAndWait(t *testing.T, d *harness.Daemon, pid int) {
	t.Helper()
	h, err := client.HoldPid(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
}

func TestARestartedDaemonFindsItsContainerAndItsOutput(t *testing.T) {
	for _, dialect := range client.Dialects() {
		t.Run(dialect.String(), func(t *testing.T) {
			d := harness.New(t, harness.Dialect(dialect))
			c := d.Run("sh", "-c", "trap 'echo after; exit 8' TERM; echo before; while :; do sleep 0.02; done")
			if err := c.Out.Wait(d.Ctx(), "before"); err != nil {
				t.Fatal(err)
			}
			d.Down()
			d.Up()
			if status, out := c.ExecOutput("x", "echo", "found"); status != 0 || out != "found\n" {
				t.Errorf("exec: status %d, output %q", status, out)
			}
			c.Kill(syscall.SIGTERM)
			if got := c.Wait(); got != 8 {
				t.Errorf("status %d", got)
			}
			c.Delete()
			if got := c.Out.String(); got != "before\nafter\n" {
				t.Errorf("output %q", got)
			}
		})
	}
}

// A daemon's restart must not break what writes meanwhile (rust-extensions 276).
func TestAWriterIsNotBrokenByTheDaemonsRestart(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "trap 'echo broken; exit 13' PIPE; for i in $(seq 200); do echo line $i || exit 14; sleep 0.005; done")
	if err := c.Out.Wait(d.Ctx(), "line 10\n"); err != nil {
		t.Fatal(err)
	}
	d.Down()
	d.Up()
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if !bytes.HasSuffix(c.Out.Bytes(), []byte("line 200\n")) {
		t.Errorf("the output ends with %q", tail(c.Out.Bytes()))
	}
}

// containerd 13849: a consumer that stalls must not cost a single exit.
func TestAStalledDaemonLosesNoExit(t *testing.T) {
	var stalled atomic.Bool
	release := make(chan struct{})
	d := harness.New(t, harness.Hook(func(ctx context.Context, e client.Event) error {
		if stalled.Load() {
			<-release
		}
		return nil
	}))
	c := d.Run("sleep", "1000")
	d.WaitEvent(c, "start")
	stalled.Store(true)
	const execs = 40
	for i := range execs {
		e := c.Exec(fmt.Sprintf("x%d", i), "true")
		e.Start()
		e.Wait()
		e.Delete()
	}
	stalled.Store(false)
	close(release)
	c.Finish()
	d.WaitEvent(c, "delete 137")
	story := d.Story(c.ContainerID)
	for i := range execs {
		if !slices.Contains(story, fmt.Sprintf("exit x%d 0", i)) {
			t.Errorf("the exit of x%d was lost", i)
		}
	}
}

func TestARefusedEventIsOfferedAgain(t *testing.T) {
	var refusals atomic.Int32
	refusals.Store(3)
	d := harness.New(t, harness.Hook(func(_ context.Context, e client.Event) error {
		if e.Topic == client.TopicExit && refusals.Add(-1) >= 0 {
			return errors.New("not now")
		}
		return nil
	}))
	c := d.Run("true")
	c.Wait()
	c.Delete()
	d.WantStory(c, "create", "start", "exit 0", "delete 0")
}

// A daemon that loses a shim runs `delete` (containerd 4769, 8381: the true
// status, if it was known).
func TestDeleteAfterTheShimsDeathTellsTheTrueStatus(t *testing.T) {
	for _, dialect := range client.Dialects() {
		t.Run(dialect.String(), func(t *testing.T) {
			d := harness.New(t, harness.Dialect(dialect))
			c := d.Run("sh", "-c", "exit 3")
			c.Wait()
			d.WaitEvent(c, "exit 3")
			c.KillShim()
			if r := c.Cleanup(); r.ExitStatus != 3 || r.Pid == 0 || r.ExitedAt.AsTime().IsZero() {
				t.Errorf("delete told %+v, want status 3", r)
			}
		})
	}
}

func TestDeleteAfterTheShimsDeathEndsWhatStillRuns(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "sleep 1000 & sleep 1000")
	e := c.Exec("x", "sleep", "1000")
	e.Start()
	c.KillShim()
	if _, err := c.State(d.Ctx()); !errors.Is(err, ttrpc.ErrClosed) {
		t.Errorf("a call to a dead shim: %v", err)
	}
	if r := c.Cleanup(); r.ExitStatus != 137 {
		t.Errorf("delete told %+v, want status 137", r)
	}
	e.IO.Close()
}

func TestDeleteAfterTheDeathOfAShimWithACreatedContainer(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sleep", "1000")
	c.KillShim()
	c.Cleanup()
}

func TestDeleteCanBeRunAgainAndAgain(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	c.KillShim()
	for range 3 {
		r, err := d.Delete(d.Ctx(), c.Bundle)
		if err != nil {
			t.Fatal(err)
		}
		if r.ExitStatus != 137 {
			t.Errorf("delete told %+v", r)
		}
	}
	c.Cleanup()
}

// containerd 11071.
func TestDeleteBearsAPartialBundle(t *testing.T) {
	d := harness.New(t)
	for _, name := range []string{"config.json", "options.json", "init.pid", "address", "bootstrap.json", "log.json", "log", "runtime"} {
		c := d.Run("sleep", "1000")
		c.KillShim()
		if err := os.Remove(filepath.Join(c.Bundle.Path, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if _, err := d.Delete(d.Ctx(), c.Bundle); err != nil {
			t.Errorf("without %s: %v", name, err)
		}
		c.Cleanup()
	}
}

func TestAShimStaysWhileItHoldsAContainer(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	h := c.HoldShim()
	if err := c.Shim.Shutdown(d.Ctx()); err != nil {
		t.Logf("shutdown with a container: %v", err)
	}
	if s, err := c.State(d.Ctx()); err != nil {
		t.Errorf("after shutdown with a container: %v, %v", s, err)
	}
	c.Finish()
	if err := h.Wait(d.Ctx()); err != nil {
		t.Errorf("the shim did not end after its container: %v", err)
	}
}

func TestShutdownNowEndsTheShimThatHoldsAContainer(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	h := c.HoldShim()
	_, err := c.Shim.Task.Shutdown(d.Ctx(), &task.ShutdownRequest{Id: c.ContainerID, Now: true})
	if err != nil && !errors.Is(err, ttrpc.ErrClosed) {
		t.Fatal(err)
	}
	if err := h.Wait(d.Ctx()); err != nil {
		t.Error(err)
	}
	c.Cleanup()
}

func TestConnectTellsPidsAndVersion(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sleep", "1000")
	pid := c.Start()
	r, err := c.Shim.Task.Connect(d.Ctx(), &task.ConnectRequest{Id: c.ContainerID})
	if err != nil {
		t.Fatal(err)
	}
	if int(r.TaskPid) != pid || r.ShimPid == 0 || r.ShimPid == r.TaskPid {
		t.Errorf("connect: %+v, init is %d", r, pid)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", r.ShimPid))
	if err != nil || exe != d.Shim {
		t.Errorf("process %d runs %s, %v", r.ShimPid, exe, err)
	}
	c.Finish()
}

// What a daemon does with a wait that it gives up.
func TestAWaitThatIsGivenUpLeavesTheOthers(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	ctx, cancel := context.WithTimeout(d.Ctx(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Container.Wait(ctx); err == nil {
		t.Error("a wait past its deadline answered")
	}
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

func TestAnOrphanedShimAnswersNotFoundForItsContainer(t *testing.T) {
	d := harness.New(t)
	config, err := client.DefaultSpec(d.Namespace, "o", "true").JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle("o", config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Start(d.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Task.State(d.Ctx(), &task.StateRequest{Id: "o"})
	d.WantCode("state before create", err, codes.NotFound)
	// containerd 6860: the daemon that comes back finds no task and shuts it down.
	if err := s.Shutdown(d.Ctx()); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := b.Delete(); err != nil {
		t.Error(err)
	}
}

// The daemon's last word to a shim is Shutdown; what the shim had to tell by then is
// told, if the daemon is slow too.
func TestAShimThatEndsTellsASlowDaemonAllBefore(t *testing.T) {
	release := make(chan struct{})
	d := harness.New(t, harness.Hook(func(_ context.Context, e client.Event) error {
		if e.Topic == client.TopicExit {
			<-release
		}
		return nil
	}))
	c := d.Run("true")
	c.Wait()
	h := c.HoldShim()
	c.Delete() // with Shutdown
	close(release)
	d.WantStory(c, "create", "start", "exit 0", "delete 0")
	if err := h.Wait(d.Ctx()); err != nil {
		t.Error(err)
	}
}

// And a daemon that takes nothing keeps no shim that it has asked to end.
func TestAShimEndsThoughTheDaemonTakesNoEvents(t *testing.T) {
	d := harness.New(t, harness.Hook(func(ctx context.Context, e client.Event) error {
		if e.Topic == client.TopicExit {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}))
	c := d.Run("true")
	c.Wait()
	h := c.HoldShim()
	c.Delete()
	if err := h.Wait(d.Ctx()); err != nil {
		t.Error(err)
	}
}
