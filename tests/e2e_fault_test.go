package tests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// answersEverything asks the container's shim what must never wait for a run of
// the runtime: a pod's other containers live by it (containerd 13483, 4177, moby
// 40817).
func answersEverything(t *testing.T, d *harness.Daemon, c *harness.Container) {
	t.Helper()
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
		t.Errorf("state: %v, %v", s, err)
	}
	if _, err := c.Shim.Pid(d.Ctx()); err != nil {
		t.Errorf("connect: %v", err)
	}
	if _, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID}); err != nil {
		t.Errorf("pids: %v", err)
	}
	if _, err := c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID}); err != nil {
		t.Errorf("stats: %v", err)
	}
	if err := c.Container.Kill(d.Ctx(), syscall.SIGURG); err != nil {
		t.Errorf("kill: %v", err)
	}
}

func TestARuntimeThatHangsInCreateTouchesNobodyElse(t *testing.T) {
	d := harness.New(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "1000"}})
	pod.Start()
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {Mark: stub.File("hangs"), Until: stub.File("go")}})
	created := make(chan *harness.Container, 1)
	go func() {
		c, err := d.TryCreate(harness.Want{ID: "slow", Args: []string{"true"}, Sandbox: pod, Options: stub.Options()})
		if err != nil {
			t.Error(err)
		}
		created <- c
	}()
	stub.WaitFile(d, "hangs")
	answersEverything(t, d, pod)
	if status, out := pod.ExecOutput("x", "echo", "well"); status != 0 || out != "well\n" {
		t.Errorf("exec: status %d, %q", status, out)
	}
	// Also of the one that is being created: it is there, or it is not yet.
	if _, err := pod.Shim.Task.State(d.Ctx(), &task.StateRequest{Id: "slow"}); err != nil {
		d.WantCode("state of what is being created", err, codes.NotFound)
	}
	stub.Touch("go")
	c := <-created
	if c == nil {
		t.FailNow()
	}
	c.Start()
	c.Wait()
	c.Delete()
	pod.Finish()
}

func TestARuntimeThatHangsInAnyVerbLeavesTheRestOfItsContainer(t *testing.T) {
	for _, tt := range []struct {
		verb string
		call func(d *harness.Daemon, c *harness.Container) error
	}{
		{"exec", func(d *harness.Daemon, c *harness.Container) error {
			e, err := c.TryExec("slow", client.Streams{}, "true")
			if err != nil {
				return err
			}
			if _, err := e.Process.Start(d.Ctx()); err != nil {
				return err
			}
			if _, _, err := e.Process.Wait(d.Ctx()); err != nil {
				return err
			}
			_, err = e.Process.Delete(d.Ctx())
			return err
		}},
		{"update", func(d *harness.Daemon, c *harness.Container) error {
			_, err := c.Shim.Task.Update(d.Ctx(), &task.UpdateTaskRequest{
				Id: c.ContainerID, Resources: resources(t, client.SpecResources{Pids: &client.SpecPids{Limit: 100}}),
			})
			return err
		}},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			d := harness.New(t)
			stub := d.Stub()
			c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
			c.Start()
			stub.Set(map[string]harness.Fault{tt.verb: {Times: 1, Mark: stub.File("hangs"), Until: stub.File("go")}})
			done := make(chan error, 1)
			go func() { done <- tt.call(d, c) }()
			stub.WaitFile(d, "hangs")
			answersEverything(t, d, c)
			if status, out := c.ExecOutput("x", "echo", "well"); status != 0 || out != "well\n" {
				t.Errorf("exec: status %d, %q", status, out)
			}
			select {
			case err := <-done:
				t.Errorf("%s did not hang: %v", tt.verb, err)
			default:
			}
			stub.Touch("go")
			if err := <-done; err != nil {
				t.Error(err)
			}
			c.Finish()
		})
	}
}

func TestAStartThatHangsLeavesStateAndKill(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"start": {Mark: stub.File("hangs"), Until: stub.File("go")}})
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	done := make(chan error, 1)
	go func() {
		_, err := c.Container.Start(d.Ctx())
		done <- err
	}()
	stub.WaitFile(d, "hangs")
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_CREATED {
		t.Errorf("state: %v, %v", s, err)
	}
	// Start and Delete of one process may not overlap: this one waits its turn.
	ctx, cancel := context.WithTimeout(d.Ctx(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Shim.Task.Delete(ctx, deleteOf(c)); err == nil {
		t.Error("deleted while it was being started")
	}
	c.Kill(syscall.SIGKILL)
	stub.Touch("go")
	<-done // that it failed or not is a race with the kill
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	c.Delete()
}

// containerd 11755: the runtime has made the container when it is given up.
func TestACreateThatIsGivenUpLeavesNoContainer(t *testing.T) {
	d := harness.New(t, harness.Env("HOLDFAST_RUNC_TIMEOUT_CREATE=500ms"))
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {After: true, Mark: stub.File("made"), Hang: true}})
	_, err := d.TryCreate(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	if err == nil {
		t.Error("created")
	}
	stub.WaitFile(d, "made")
}

func TestACreateThatFailsAfterItsWorkLeavesNoContainer(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	for _, fault := range []harness.Fault{
		{After: true, Exit: ptr(1), Error: "too late"},
		{After: true, Signal: 9},
	} {
		stub.Set(map[string]harness.Fault{"create": fault})
		_, err := d.TryCreate(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
		if err == nil || fault.Error != "" && !strings.Contains(err.Error(), fault.Error) {
			t.Errorf("error: %v", err)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestAClientThatGivesUpCreateCanDelete(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {After: true, Mark: stub.File("made"), Delay: "700ms"}})
	config, err := client.DefaultSpec(d.Namespace, "g", "sleep", "1000").JSON()
	if err != nil {
		t.Fatal(err)
	}
	rootfs, err := d.Overlay("g")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(d.Ctx(), 200*time.Millisecond)
	defer cancel()
	// The daemon's cleaning up after it is Create's own (client.Launcher.Create).
	_, err = d.Launcher.Create(ctx, client.CreateOptions{
		ID: "g", Config: config, Rootfs: []*types.Mount{rootfs}, Options: stub.Options(),
	})
	if err == nil {
		t.Error("created in less time than it takes")
	}
}

// containerd 4434: more than a pipe holds.
func TestARuntimeMayPrintMoreThanAPipeHolds(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{
		"create": {Spew: 1 << 20}, "start": {Spew: 1 << 20}, "exec": {Spew: 1 << 20}, "delete": {Spew: 1 << 20},
	})
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	c.Start()
	if status, _ := c.ExecOutput("x", "sh", "-c", "exit 3"); status != 3 {
		t.Errorf("exec's status %d", status)
	}
	c.Finish()
}

func TestAFailingRuntimesWordsReachTheUser(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	for _, tt := range []struct {
		name  string
		fault harness.Fault
		want  string
	}{
		{"by its log", harness.Fault{Error: "the reason is this", Exit: ptr(1)}, "the reason is this"},
		{"by its stderr", harness.Fault{Stderr: "only said aloud\n", Exit: ptr(1)}, "only said aloud"},
		{"with garbage in its log", harness.Fault{Log: "{\"level\":\"err\x00\xff}\n{{{", Exit: ptr(3)}, ""},
		{"a mebibyte of them", harness.Fault{Spew: 1 << 20, Exit: ptr(1)}, ""},
		{"killed", harness.Fault{Signal: 11}, ""},
		{"silently", harness.Exits(7), ""},
	} {
		stub.Set(map[string]harness.Fault{"create": tt.fault})
		_, err := d.TryCreate(harness.Want{Args: []string{"true"}, Options: stub.Options()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err != nil && len(err.Error()) > 64<<10 {
			t.Errorf("%s: the error is %d bytes", tt.name, len(err.Error()))
		}
	}
	// The same for an exec, whose container must not notice.
	stub.Set(nil)
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	c.Start()
	stub.Set(map[string]harness.Fault{"exec": {Error: "no exec today", Exit: ptr(1)}})
	e := c.Exec("x", "true")
	if _, err := e.Process.Start(d.Ctx()); err == nil || !strings.Contains(err.Error(), "no exec today") {
		t.Errorf("exec: %v", err)
	}
	e.Delete()
	answersEverything(t, d, c)
	c.Finish()
}

// The runtime says that it failed though the container runs: what is told is the
// failure, and the container can still be ended.
func TestAStartThatFailsAfterItsWorkCanBeDeleted(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"start": {After: true, Exit: ptr(1), Error: "on second thought"}})
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	if _, err := c.Container.Start(d.Ctx()); err == nil || !strings.Contains(err.Error(), "on second thought") {
		t.Errorf("start: %v", err)
	}
	c.Finish()
}

func TestAnExecThatFailsAfterItsWorkIsNotLost(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	c.Start()
	stub.Set(map[string]harness.Fault{"exec": {After: true, Exit: ptr(1), Error: "on second thought"}})
	e := c.Exec("x", "sleep", "1000")
	if _, err := e.Process.Start(d.Ctx()); err == nil {
		t.Error("started")
	}
	e.Delete()
	stub.Set(nil)
	// Its process goes with the container at the latest.
	c.Finish()
}

// containerd 7496, 8981, 11392.
func TestADeleteThatFailsOnceCanBeTriedAgain(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"delete": {Times: 1, Exit: ptr(1), Error: "not now"}})
	c := d.CreateWant(harness.Want{Args: []string{"sh", "-c", "exit 5"}, Options: stub.Options()})
	c.Start()
	c.Wait()
	if _, err := c.Shim.Task.Delete(d.Ctx(), deleteOf(c)); err == nil || !strings.Contains(err.Error(), "not now") {
		t.Errorf("delete: %v", err)
	}
	if got := c.Delete(); got != 5 {
		t.Errorf("status %d", got)
	}
}

func TestADeleteWhoseClientGaveUpIsFoundDone(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"delete": {Times: 1, Mark: stub.File("hangs"), Until: stub.File("go")}})
	c := d.CreateWant(harness.Want{Args: []string{"sh", "-c", "exit 5"}, Options: stub.Options()})
	c.Start()
	c.Wait()
	ctx, cancel := context.WithTimeout(d.Ctx(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Shim.Task.Delete(ctx, deleteOf(c)); err == nil {
		t.Error("a hanging delete answered")
	}
	stub.WaitFile(d, "hangs")
	stub.Touch("go")
	r, err := c.Container.Delete(d.Ctx())
	switch {
	case err == nil && r.ExitStatus != 5:
		t.Errorf("status %d", r.ExitStatus)
	case err != nil && client.Code(err) != codes.NotFound:
		t.Error(err)
	}
	d.WantStory(c, "create", "start", "exit 5", "delete 5")
}

// An OCI hook's daemon or the like that keeps the runtime's outputs open.
func TestARuntimesChildThatHoldsItsOutputDoesNotHoldUpCreate(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {Orphan: stub.File("orphan")}})
	c := d.CreateWant(harness.Want{Args: []string{"sh", "-c", "exit 2"}, NoOutput: true, Options: stub.Options()})
	c.Start()
	if got := c.Wait(); got != 2 {
		t.Errorf("status %d", got)
	}
	var pid int
	if _, err := fmt.Sscan(readFile(t, stub.File("orphan")), &pid); err != nil {
		t.Fatal(err)
	}
	killAndWait(t, d, pid)
	c.Delete()
}

func TestExecsRunTheRuntimeOnceEach(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: stub.Options()})
	c.Start()
	before := len(stub.Calls())
	const execs = 5
	for range execs {
		c.ExecOutput("x", "true")
	}
	// Kubernetes 82440: probes burn CPU in the runtime's runs.
	calls := stub.Calls()[before:]
	if len(calls) != execs {
		for _, call := range calls {
			t.Logf("%s %q", call.Verb, call.Args)
		}
		t.Errorf("%d runs of the runtime for %d execs", len(calls), execs)
	}
	before = len(stub.Calls())
	answersEverything(t, d, c)
	c.Kill(syscall.SIGKILL)
	c.Wait()
	for _, call := range stub.Calls()[before:] {
		t.Errorf("a call that needs no runtime ran %s", call.Verb)
	}
	c.Delete()
}

func TestTheRuntimeHasNothingOfTheShimsEnvironment(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	c := d.CreateWant(harness.Want{Args: []string{"true"}, Options: stub.Options()})
	c.Start()
	c.Wait()
	c.Delete()
	for _, call := range stub.Calls() {
		for _, kv := range call.Env {
			name, _, _ := strings.Cut(kv, "=")
			switch name {
			case "TTRPC_ADDRESS", "GRPC_ADDRESS", "NAMESPACE", "MAX_SHIM_VERSION", "SCHED_CORE":
				t.Errorf("%s has %s", call.Verb, kv)
			}
		}
		if call.Dir != c.Bundle.Path {
			t.Errorf("%s runs in %s", call.Verb, call.Dir)
		}
	}
}

func TestAShimThatDiesWhileTheRuntimeWorksIsCleanedUpAfter(t *testing.T) {
	d := harness.New(t)
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {After: true, Times: 1, Mark: stub.File("made"), Until: stub.File("go")}})
	config, err := client.DefaultSpec(d.Namespace, "k", "sleep", "1000").JSON()
	if err != nil {
		t.Fatal(err)
	}
	rootfs, err := d.Overlay("k")
	if err != nil {
		t.Fatal(err)
	}
	shims := make(chan *client.Hold, 1)
	failed := make(chan error, 1)
	go func() {
		_, err := d.Launcher.Create(d.Ctx(), client.CreateOptions{
			ID: "k", Config: config, Rootfs: []*types.Mount{rootfs}, Options: stub.Options(),
			Connected: func(s *client.Shim) {
				h, err := s.Hold(d.Ctx())
				if err != nil {
					t.Error(err)
				}
				shims <- h
			},
		})
		failed <- err
	}()
	h := <-shims
	defer h.Close()
	stub.WaitFile(d, "made")
	if err := h.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The runtime may go on meanwhile; it ends by itself.
	stub.Touch("go")
	if err := <-failed; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("create by a shim that was killed: %v", err)
	}
}
