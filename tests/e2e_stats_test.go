package tests

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	goproto "google.golang.org/protobuf/proto"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups1"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// reference reads a container's stats with containerd's library, and returns them
// as this shim would send them.
func reference(t *testing.T, d *harness.Daemon, c *harness.Container) []byte {
	t.Helper()
	path := "/" + d.Namespace + "/" + c.ContainerID
	var theirs goproto.Message
	var ours proto.Message
	if unified(t, d, c) {
		m, err := cgroup2.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := m.Stat()
		if err != nil {
			t.Fatal(err)
		}
		theirs, ours = s, new(cgroups2.Metrics)
	} else {
		cg, err := cgroup1.Load(cgroup1.StaticPath(path))
		if err != nil {
			t.Fatal(err)
		}
		s, err := cg.Stat(cgroup1.IgnoreNotExist)
		if err != nil {
			t.Fatal(err)
		}
		theirs, ours = s, new(cgroups1.Metrics)
	}
	b, err := goproto.Marshal(theirs)
	if err == nil {
		err = ours.Unmarshal(b)
	}
	if m, ok := ours.(*cgroups2.Metrics); ok && err == nil {
		// The library has them in the order of a directory.
		if h := m.Hugetlb; len(h) == 2 && h[0].Pagesize > h[1].Pagesize {
			h[0], h[1] = h[1], h[0]
		}
	}
	if err == nil {
		b, err = ours.Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A paused container's counters stand still, once the kernel has gathered them from
// its CPUs: then the shim and the library must read the same, byte for byte.
func TestStatsOfAContainerAreThoseOfContainerdsLibrary(t *testing.T) {
	d := harness.New(t)
	c := ready(t, d, harness.Want{
		Args: []string{"sh", "-c", "dd if=/dev/zero of=/file bs=64k count=64 conv=fsync 2>/dev/null; sleep 1000 & echo ready; wait"},
		Edit: func(s *client.Spec) {
			s.Linux.Resources.Memory = &client.SpecMemory{Limit: ptr(int64(64 << 20))}
			s.Linux.Resources.CPU = &client.SpecCPU{Quota: ptr(int64(50000)), Period: ptr(uint64(100000))}
			s.Linux.Resources.Pids = &client.SpecPids{Limit: 77}
		},
	})
	pause(d, c)
	ours := func() []byte {
		r, err := c.Shim.Task.Stats(d.Ctx(), &task.StatsRequest{Id: c.ContainerID})
		if err != nil {
			t.Fatal(err)
		}
		return r.Stats.Value
	}
	d.Eventually("counters that stand still", func() error {
		before := ours()
		theirs := reference(t, d, c)
		if after := ours(); !bytes.Equal(before, after) {
			return fmt.Errorf("they go on")
		}
		if !bytes.Equal(before, theirs) {
			t.Errorf("the shim says\n%x\ncontainerd's library\n%x", before, theirs)
		}
		return nil
	})
	c.Finish()
}
