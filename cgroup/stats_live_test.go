package cgroup

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"google.golang.org/protobuf/proto"

	ours "github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups1"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
)

// pretty writes metrics so that a person sees where two differ.
func pretty(t testing.TB, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func stats(t testing.TB, g *Group) ours.Message {
	t.Helper()
	m, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// busy gives a group something to count and then stops all its processes, so that
// two readers see the same.
func busy(t *testing.T) (string, *Group) {
	t.Helper()
	path := newGroup(t)
	file := t.TempDir() + "/file"
	done := t.TempDir() + "/done"
	cmd := start(t, path, "dd if=/dev/zero of="+file+" bs=64k count=64 conv=fsync 2>/dev/null; sleep 1000 & touch "+done+"; wait")
	eventually(t, "its work is done", func() bool {
		_, err := os.Stat(done)
		return err == nil
	})
	g := of(t, cmd.Process.Pid)
	for _, p := range g.Places {
		if hasWord(p.Controllers, "freezer") || p.Controllers == "" {
			if !p.freeze() {
				t.Fatalf("cannot freeze %+v", p)
			}
		}
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
	})
	return path, g
}

// same compares ours with theirs. The kernel gathers some counters from its CPUs
// late, so the comparison is made when two readings of ours, with theirs in between,
// are the same.
func same(t *testing.T, g *Group, theirs func() proto.Message, into func() ours.Message) {
	t.Helper()
	var before, after, other ours.Message
	steady := func() bool {
		before = stats(t, g)
		b, err := proto.Marshal(theirs())
		if err != nil {
			t.Fatal(err)
		}
		other = into()
		if err := other.Unmarshal(b); err != nil {
			t.Fatal(err)
		}
		if m, ok := other.(*cgroups2.Metrics); ok {
			sortHugetlb(m)
		}
		after = stats(t, g)
		return reflect.DeepEqual(before, after)
	}
	eventually(t, "counters that stand still", steady)
	if !reflect.DeepEqual(normal(t, before), normal(t, other)) {
		t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, before), pretty(t, other))
	}
}

// normal is what a message is after it went over the wire.
func normal(t *testing.T, m ours.Message) ours.Message {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	n := reflect.New(reflect.TypeOf(m).Elem()).Interface().(ours.Message)
	if err := n.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatsOfALiveGroupAreContainerds(t *testing.T) {
	path, g := busy(t)
	views(t, g, func(t *testing.T, g *Group) {
		if g.Unified() {
			u, _ := g.with("")
			m, err := cgroup2.Load(path, cgroup2.WithMountpoint(strings.TrimSuffix(u.Dir, path)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, g, func() proto.Message {
				s, err := m.Stat()
				if err != nil {
					t.Fatal(err)
				}
				return s
			}, func() ours.Message { return new(cgroups2.Metrics) })
			m2 := stats(t, g).(*cgroups2.Metrics)
			if m2.Cpu.UsageUsec == 0 {
				t.Errorf("no CPU time was counted: %s", pretty(t, m2))
			}
			return
		}
		cg, err := cgroup1.Load(cgroup1.StaticPath(path))
		if err != nil {
			t.Fatal(err)
		}
		same(t, g, func() proto.Message {
			s, err := cg.Stat(cgroup1.IgnoreNotExist)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, func() ours.Message { return new(cgroups1.Metrics) })
		m1 := stats(t, g).(*cgroups1.Metrics)
		if m1.Cpu.Usage.Total == 0 || m1.Memory.Usage.Usage == 0 || m1.Pids.Current < 2 || m1.Memory.TotalCache < 64*64<<10 {
			t.Errorf("the work was not counted: %s", pretty(t, m1))
		}
	})
}

func TestStatsOfAGroupThatIsGone(t *testing.T) {
	g := &Group{Places: []Place{
		{Controllers: "memory", Path: "/gone", Dir: "/sys/fs/cgroup/memory/holdfast-test-gone"},
		{Controllers: "cpu", Path: "/gone", Dir: "/sys/fs/cgroup/cpu/holdfast-test-gone"},
		{Path: "/gone", Dir: "/sys/fs/cgroup/unified/holdfast-test-gone"},
	}}
	views(t, g, func(t *testing.T, g *Group) {
		if m, err := g.Stats(); !errors.Is(err, ErrGone) {
			t.Errorf("stats are %v, %v, want ErrGone", m, err)
		}
	})
	if m, err := (&Group{}).Stats(); !errors.Is(err, ErrGone) {
		t.Errorf("stats of no place at all are %v, %v, want ErrGone", m, err)
	}
}

func BenchmarkStats(b *testing.B) {
	path := newGroup(b)
	g := of(b, start(b, path, "sleep 1000").Process.Pid)
	var v2 Group
	u, _ := g.with("")
	v2.Places = []Place{u}
	for name, g := range map[string]*Group{"version 1": g, "version 2": &v2} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := g.Stats(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("containerd's version 1", func(b *testing.B) {
		cg, err := cgroup1.Load(cgroup1.StaticPath(path))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := cg.Stat(cgroup1.IgnoreNotExist); err != nil {
				b.Fatal(err)
			}
		}
	})
}
