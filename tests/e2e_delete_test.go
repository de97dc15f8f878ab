package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// createOf asks for a container with the stub as its runtime.
func createOf(t *testing.T, d *harness.Daemon, id string, stub *harness.Stub) *task.CreateTaskRequest {
	t.Helper()
	rootfs, err := d.Overlay(id)
	if err != nil {
		t.Fatal(err)
	}
	options, err := proto.Pack(stub.Options())
	if err != nil {
		t.Fatal(err)
	}
	return &task.CreateTaskRequest{
		Id: id, Bundle: filepath.Join(d.State, d.Namespace, id), Rootfs: []*types.Mount{rootfs}, Options: options,
	}
}

// containerd 4020, 11376: somebody of the machine's is in the rootfs when its
// container goes, and goes later.
func TestDeleteAfterTheShimsDeathOfABusyRootfs(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "100000")
	rootfs := filepath.Join(c.Bundle.Path, "rootfs")
	inside := exec.Command("sleep", "100000")
	inside.Dir = filepath.Join(rootfs, "tmp")
	if err := inside.Start(); err != nil {
		t.Fatal(err)
	}
	defer inside.Wait()
	defer inside.Process.Kill()
	c.KillShim()
	for range 2 {
		r, err := d.Delete(d.Ctx(), c.Bundle)
		if err != nil || r.ExitStatus != 137 {
			t.Errorf("delete: %+v, %v", r, err)
		}
		if mounts, err := client.MountsUnder(rootfs); err != nil || len(mounts) > 0 {
			t.Errorf("still mounted: %q, %v", mounts, err)
		}
	}
	if log := d.ShimLog.String(); strings.Contains(log, "delete c1: ") {
		t.Errorf("delete complained: %s", log)
	}
	// The bundle can go while that somebody is still there, and so can they.
	c.Cleanup()
	if err := inside.Process.Kill(); err != nil {
		t.Error(err)
	}
}

// containerd 3149, 11231: the kernel does not end such a container's processes
// with its init.
func TestDeleteAfterTheShimsDeathEndsWhatLivesAmongTheMachinesPids(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "setsid sleep 100000 & setsid sleep 100000 & echo ready; exec sleep 100000"},
		Edit: func(s *client.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n client.SpecNamespace) bool { return n.Type == "pid" })
		},
	})
	pid := c.Start()
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	procs := cgroupFile(t, d, c, "pids", "cgroup.procs", "cgroup.procs")
	if n := len(strings.Fields(readFile(t, procs))); n != 3 {
		t.Errorf("%d processes before the end", n)
	}
	c.KillShim()
	// Not even init is there any more: it was one of the machine's processes.
	killAndWait(t, d, pid)
	if r := c.Cleanup(); r.ExitStatus != 137 || int(r.Pid) != pid {
		t.Errorf("delete told %+v, of process %d", r, pid)
	}
	if b, err := os.ReadFile(procs); err == nil {
		t.Errorf("left: processes %q", b)
	}
}
