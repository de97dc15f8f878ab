package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups1"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// cgroupFile finds a file of the container's cgroup: the controller's on
// version 1, or the one group's on version 2.
func cgroupFile(t *testing.T, d *harness.Daemon, c *harness.Container, controller, v1, v2 string) string {
	t.Helper()
	for _, path := range []string{
		filepath.Join("/sys/fs/cgroup", controller, d.Namespace, c.ContainerID, v1),
		filepath.Join("/sys/fs/cgroup", d.Namespace, c.ContainerID, v2),
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("no %s or %s of %s", v1, v2, c.ContainerID)
	return ""
}

func TestStatsTellWhatTheContainerUses(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait"},
		Edit: func(s *client.Spec) {
			limit := int64(64 << 20)
			s.Linux.Resources.Memory = &client.SpecMemory{Limit: &limit}
			s.Linux.Resources.Pids = &client.SpecPids{Limit: 77}
		},
	})
	c.Start()
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	r, err := c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID})
	if err != nil {
		t.Fatal(err)
	}
	var v1 cgroups1.Metrics
	var v2 cgroups2.Metrics
	var pids, limit, memory, memoryLimit uint64
	switch {
	case proto.Unpack(r.Stats, &v1) == nil:
		pids, limit = v1.Pids.Current, v1.Pids.Limit
		memory, memoryLimit = v1.Memory.Usage.Usage, v1.Memory.Usage.Limit
	case proto.Unpack(r.Stats, &v2) == nil:
		pids, limit = v2.Pids.Current, v2.Pids.Limit
		memory, memoryLimit = v2.Memory.Usage, v2.Memory.UsageLimit
	default:
		t.Fatalf("stats are a %s", r.Stats.TypeUrl)
	}
	if pids != 3 || limit != 77 || memory == 0 || memoryLimit != 64<<20 {
		t.Errorf("pids %d of %d, memory %d of %d", pids, limit, memory, memoryLimit)
	}
	c.Finish()
}

// Left processes: containerd 3149, 11231.
func TestWithoutAPidNamespaceOfItsOwnEveryProcessEndsWithInit(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "setsid sleep 1000 & echo ready; exec sleep 1000"},
		Edit: func(s *client.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n client.SpecNamespace) bool { return n.Type == "pid" })
		},
	})
	c.Start()
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	procs := cgroupFile(t, d, c, "pids", "cgroup.procs", "cgroup.procs")
	if n := len(strings.Fields(readFile(t, procs))); n != 2 {
		t.Errorf("%d processes before the end", n)
	}
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	// Without any Delete: the container has stopped, so nothing of it runs.
	d.Eventually("the end of what init left", func() error {
		b, err := os.ReadFile(procs)
		if err != nil {
			return nil // the group itself is gone
		}
		if len(strings.TrimSpace(string(b))) > 0 {
			return fmt.Errorf("processes %q", b)
		}
		return nil
	})
	c.Delete()
}

func TestTheShimJoinsTheCgroupOfItsOptions(t *testing.T) {
	d := harness.New(t)
	group := "/" + d.Namespace + "/shim"
	var made []string
	tops, err := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		tops = []string{"/sys/fs/cgroup/cgroup.procs"}
	}
	for _, top := range tops {
		dir := filepath.Dir(top) + group
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		// cpuset of version 1 takes nobody before it has these.
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
			for _, at := range []string{filepath.Dir(dir), dir} {
				if b, err := os.ReadFile(filepath.Join(filepath.Dir(top), name)); err == nil {
					os.WriteFile(filepath.Join(at, name), b, 0)
				}
			}
		}
		made = append(made, dir)
	}
	c := d.CreateWant(harness.Want{Args: []string{"sleep", "1000"}, Options: &runcopts.Options{ShimCgroup: group}})
	c.Start()
	shim := c.HoldShim()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/cgroup", shim.Pid()))) {
		if !strings.HasSuffix(strings.TrimSpace(line), ":"+group) {
			t.Errorf("the shim is in %q", line)
		}
	}
	c.Finish()
	if err := shim.Wait(d.Ctx()); err != nil {
		t.Error(err)
	}
	for _, dir := range made {
		d.Eventually("removal of "+dir, func() error { return syscall.Rmdir(dir) })
	}
}
