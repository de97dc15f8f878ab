package tests

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// The real runtime does not get the flag: there need be no systemd.
func TestEveryCallOfTheRuntimeIsToldThatSystemdMakesTheCgroups(t *testing.T) {
	const flag = "--systemd-cgroup"
	d := harness.New(t)
	stub := d.Stub()
	stub.Drop = []string{flag}
	stub.Set(nil)
	o := stub.Options()
	o.SystemdCgroup = true
	want := harness.Want{Args: []string{"sleep", "1000"}, Options: o}

	c := d.CreateWant(want)
	c.Start()
	if code, out := c.ExecOutput("x", "true"); code != 0 {
		t.Errorf("exec: %d, %s", code, out)
	}
	api := c.Shim.Task
	if _, err := api.Pause(d.Ctx(), &task.PauseRequest{Id: c.ContainerID}); err != nil {
		t.Error(err)
	}
	if _, err := api.Resume(d.Ctx(), &task.ResumeRequest{Id: c.ContainerID}); err != nil {
		t.Error(err)
	}
	limit := int64(64 << 20)
	if _, err := api.Update(d.Ctx(), &task.UpdateTaskRequest{
		Id: c.ContainerID, Resources: resources(t, client.SpecResources{Memory: &client.SpecMemory{Limit: &limit}}),
	}); err != nil {
		t.Error(err)
	}
	c.Finish()

	// A create that fails is undone, and a container whose shim is lost deleted.
	want.Args = []string{"no-such-program"}
	if _, err := d.TryCreate(want); err == nil {
		t.Error("a program that is not there was started")
	}
	want.Args = []string{"sleep", "1000"}
	lost := d.CreateWant(want)
	lost.Start()
	lost.KillShim()
	lost.Cleanup()

	var verbs []string
	for _, call := range stub.Calls() {
		verbs = append(verbs, call.Verb)
		at := slices.Index(call.Args, call.Verb)
		if !slices.Contains(call.Args[:at], flag) {
			t.Errorf("without it: %s", strings.Join(call.Args, " "))
		}
	}
	slices.Sort(verbs)
	for _, verb := range []string{"create", "start", "exec", "pause", "resume", "update", "delete"} {
		if !slices.Contains(verbs, verb) {
			t.Errorf("%s was not called: %v", verb, verbs)
		}
	}
}
