package tests

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A node may have two containerds (k3s and Docker's), each with a state directory of its
// own. Containers of one name and namespace have the same cgroup and share the runtime's
// state. Who comes second is refused, and nobody clears away the first.
func TestAContainerOfAnotherDaemonIsNotClearedAway(t *testing.T) {
	first := harness.New(t)
	second := harness.New(t, func(d *harness.Daemon) { d.Launcher.Namespace = first.Namespace })
	c := first.Run("sleep", "1000")

	spec := client.DefaultSpec(second.Namespace, c.ContainerID, "sleep", "1000")
	config, err := spec.JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := second.NewBundle(c.ContainerID, config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := second.Start(second.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Task.Create(second.Ctx(), &task.CreateTaskRequest{Id: b.ID, Bundle: b.Path})
	if got := status.Code(err); got != codes.AlreadyExists {
		t.Errorf("the second's create: %v", err)
	}
	if err := s.Shutdown(second.Ctx()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	// As containerd does whenever a shim's connection has closed.
	if _, err := second.Delete(second.Ctx(), b); err != nil {
		t.Error(err)
	}
	if err := second.ShimLog.Wait(second.Ctx(), "belongs to a container of another daemon"); err != nil {
		t.Error(err)
	}
	if got, out := c.ExecOutput("x", "echo", "here"); got != 0 || out != "here\n" {
		t.Errorf("an exec in the first: status %d, %q", got, out)
	}
	c.Finish()
	if err := b.Delete(); err != nil {
		t.Error(err)
	}
}

// A container may have a daemon in it, or anything that works in such a directory. It is
// cleared away as any other.
func TestADaemonInAContainerIsNoOtherDaemon(t *testing.T) {
	d := harness.New(t)
	bundle := filepath.Join("/tmp/inner", filepath.Base(d.State), d.Namespace, "c1")
	c := d.Run("sh", "-c", "mkdir -p "+bundle+"; cd "+bundle+"; sleep 100000 & echo ready; wait")
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	procs := cgroupFile(t, d, c, "pids", "cgroup.procs", "cgroup.procs")
	c.KillShim()
	if r := c.Cleanup(); r.ExitStatus != 137 {
		t.Errorf("delete told %+v", r)
	}
	if b, err := os.ReadFile(procs); err == nil {
		t.Errorf("left: processes %q", b)
	}
}
