package tests

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestAContainerLivesAndItsEventsTellItInOrder(t *testing.T) {
	d := harness.New(t)
	before := time.Now().Add(-time.Second)
	c := d.Create("sh", "-c", "echo out; echo err >&2; exit 3")

	s, err := c.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_CREATED || s.Pid == 0 || s.Bundle != c.Bundle.Path || s.Stdout != c.IO.Stdout {
		t.Errorf("created: %+v", s)
	}
	pid := c.Start()
	if uint32(pid) != s.Pid {
		t.Errorf("start answered pid %d, state before it %d", pid, s.Pid)
	}
	status, at, err := c.Container.Wait(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if status != 3 || at.Before(before) || at.After(time.Now()) {
		t.Errorf("wait: status %d at %v", status, at)
	}
	if s, err = c.State(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_STOPPED || s.ExitStatus != 3 || !s.ExitedAt.AsTime().Equal(at) {
		t.Errorf("stopped: %+v, wait told %v", s, at)
	}
	r, err := c.Container.Delete(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if r.ExitStatus != 3 || r.Pid != uint32(pid) || !r.ExitedAt.AsTime().Equal(at) {
		t.Errorf("delete: %+v", r)
	}
	if out, err := c.Out.String(), c.Err.String(); out != "out\n" || err != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	d.WantStory(c, "create", "start", "exit 3", "delete 3")
}

func TestExitCodesAndSignalsComeThrough(t *testing.T) {
	d := harness.New(t)
	for _, tt := range []struct {
		command string
		want    uint32
	}{
		{"exit 0", 0}, {"exit 1", 1}, {"exit 255", 255},
		// A signal that nobody handles does not kill a pid namespace's init, so
		// the shell's child is what dies of it.
		{"sh -c 'kill -TERM $$'; exit $?", 128 + 15},
	} {
		c := d.Run("sh", "-c", tt.command)
		if got := c.Wait(); got != tt.want {
			t.Errorf("%q: status %d, want %d", tt.command, got, tt.want)
		}
		if got := c.Delete(); got != tt.want {
			t.Errorf("%q: delete told status %d, want %d", tt.command, got, tt.want)
		}
	}
}

func TestKilledInitReportsTheSignal(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 128+9 {
		t.Errorf("status %d, want 137", got)
	}
	c.Delete()
	d.WantStory(c, "create", "start", "exit 137", "delete 137")
}

func TestAHandledSignalLetsInitEndByItself(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	c.Kill(syscall.SIGTERM)
	if got := c.Wait(); got != 42 {
		t.Errorf("status %d, want 42", got)
	}
	c.Delete()
}

func TestAContainerThatIsCreatedCanBeDeletedWithoutEverStarting(t *testing.T) {
	d := harness.New(t)
	c := d.Create("true")
	c.Delete()
	d.WaitEvent(c, "delete 137")
	// Whether a killed init that never started has an exit event is left open.
	story := d.Story(c.ContainerID)
	if story[0] != "create" || !strings.HasPrefix(story[len(story)-1], "delete") {
		t.Errorf("story: %q", story)
	}
}

func TestACreatedContainerThatIsKilledEnds(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sleep", "1000")
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 128+9 {
		t.Errorf("status %d, want 137", got)
	}
	c.Delete()
}

func TestManyWaitersHearOfOneExit(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sh", "-c", "read go; exit 7")
	// The container has no stdin, so read ends at once; waiters before and after
	// the end are all the same to the shim.
	type answer struct {
		status uint32
		err    error
	}
	const waiters = 50
	answers := make(chan answer, waiters)
	for range waiters {
		go func() {
			status, _, err := c.Container.Wait(d.Ctx())
			answers <- answer{status, err}
		}()
	}
	for range waiters {
		if a := <-answers; a.err != nil || a.status != 7 {
			t.Errorf("a waiter heard status %d, %v", a.status, a.err)
		}
	}
	c.Delete()
}

func TestWaitersOfALongLifeAreAllAnsweredAtItsEnd(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	const waiters = 20
	statuses := make(chan uint32, waiters)
	for range waiters {
		go func() {
			status, _, _ := c.Container.Wait(d.Ctx())
			statuses <- status
		}()
	}
	c.Kill(syscall.SIGKILL)
	for range waiters {
		if got := <-statuses; got != 137 {
			t.Errorf("a waiter heard status %d", got)
		}
	}
	c.Delete()
}

func TestKillAllReachesEveryProcess(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	e := c.Exec("x", "sleep", "1000")
	e.Start()
	if err := c.KillAll(d.Ctx(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := e.Wait(); got != 137 {
		t.Errorf("exec's status %d", got)
	}
	if got := c.Wait(); got != 137 {
		t.Errorf("init's status %d", got)
	}
	e.Delete()
	c.Delete()
	d.WantStory(c, "create", "start", "exec-added x", "exec-started x", "exit x 137", "exit 137", "delete 137")
}

func TestTheRuntimeCanBeCrun(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args:    []string{"sh", "-c", "echo by crun; exit 5"},
		Options: &runcopts.Options{BinaryName: crun(t, d)},
	})
	c.Start()
	if got := c.Wait(); got != 5 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if got := c.Out.String(); got != "by crun\n" {
		t.Errorf("output %q", got)
	}
	d.WantStory(c, "create", "start", "exit 5", "delete 5")
}

// crun is the program, or, where there are cgroups of both versions with
// controllers in both, which crun refuses, a program that runs it where version
// 2's are not to be seen.
func crun(t *testing.T, d *harness.Daemon) string {
	t.Helper()
	if b, err := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers"); err != nil || len(bytes.TrimSpace(b)) == 0 {
		return "crun"
	}
	script := filepath.Join(d.Dir, "crun")
	text := "#!/bin/sh\nexec unshare --mount sh -c 'umount /sys/fs/cgroup/unified && exec crun \"$@\"' crun \"$@\"\n"
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return script
}

func TestTheRuntimesRootIsTheOptions(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args:    []string{"sleep", "1000"},
		Options: &runcopts.Options{Root: d.Dir + "/runc"},
	})
	c.Start()
	if left := harness.Names(d.Dir + "/runc/" + d.Namespace); len(left) != 1 || left[0] != c.ContainerID {
		t.Errorf("the runtime's root holds %q", left)
	}
	c.Finish()
	if left := harness.Names(d.Dir + "/runc/" + d.Namespace); len(left) != 0 {
		t.Errorf("the runtime's root still holds %q", left)
	}
}

func TestPausedContainerGoesOnWhenResumed(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	pause(d, c)
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_PAUSED {
		t.Errorf("paused: %v, %v", s, err)
	}
	if _, err := c.Shim.Task.Resume(d.Ctx(), &task.ResumeRequest{Id: c.ContainerID}); err != nil {
		t.Fatal(err)
	}
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
		t.Errorf("resumed: %v, %v", s, err)
	}
	c.Finish()
	d.WantStory(c, "create", "start", "paused", "resumed", "exit 137", "delete 137")
}

// pause tries again, because runc gives up on a freezer of cgroup v1 that is slow
// to freeze.
func pause(d *harness.Daemon, c *harness.Container) {
	d.Eventually("pause", func() error {
		_, err := c.Shim.Task.Pause(d.Ctx(), &task.PauseRequest{Id: c.ContainerID})
		return err
	})
}

func TestAPausedContainerDiesOfSIGKILL(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	pause(d, c)
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}
