package cgroup

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	ours "github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups1"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
)

// recorded unpacks what a kernel's files held in a group that was throttled, read
// and wrote a loop device, and had two processes killed for want of memory: a line
// "-- NAME --" before each file's content.
func recorded(t *testing.T, kernel string) (root string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "recorded", kernel+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	name := ""
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "-- "); ok {
			name = strings.TrimSuffix(n, " --\n")
			files[name] = ""
			continue
		}
		files[name] += line
	}
	root = t.TempDir()
	tree(t, root, files)
	return root
}

// figure is what a person reads in the recorded files.
type figure struct {
	name      string
	got, want uint64
}

func check(t *testing.T, figures ...figure) {
	t.Helper()
	for _, f := range figures {
		if f.got != f.want {
			t.Errorf("%s is %d, want %d", f.name, f.got, f.want)
		}
	}
}

func TestStatsOfVersion2FilesOfManyKernelsAreContainerds(t *testing.T) {
	for _, tt := range []struct {
		kernel                                       string
		usage, throttled, peak, groupKills, pressure uint64
	}{
		// 5.10 has neither memory.peak nor a count of whole groups that were killed.
		{kernel: "linux-5.10-v2", usage: 24847674, throttled: 24838301, pressure: 38730432},
		{kernel: "linux-6.1-v2", usage: 15352680, throttled: 15893422, peak: 33554432, groupKills: 1, pressure: 23039818},
		{kernel: "linux-6.12-v2", usage: 36111619, throttled: 42680501, peak: 33554432, groupKills: 1, pressure: 63826622},
	} {
		t.Run(tt.kernel, func(t *testing.T) {
			root := recorded(t, tt.kernel)
			got := stats(t, group2(root)).(*cgroups2.Metrics)
			check(t,
				figure{"CPU time", got.Cpu.UsageUsec, tt.usage},
				figure{"throttled time", got.Cpu.ThrottledUsec, tt.throttled},
				figure{"time without a CPU", got.Cpu.Psi.Some.Total, tt.pressure},
				figure{"memory limit", got.Memory.UsageLimit, 32 << 20},
				figure{"highest memory", got.Memory.MaxUsage, tt.peak},
				figure{"swap limit", got.Memory.SwapLimit, 48 << 20},
				figure{"OOM kills", got.MemoryEvents.OomKill, 5},
				figure{"groups killed", got.MemoryEvents.OomGroupKill, tt.groupKills},
				figure{"limit of pids", got.Pids.Limit, 32},
				figure{"bytes read", got.Io.Usage[0].Rbytes, 50 * 64 << 10},
				figure{"bytes written", got.Io.Usage[0].Wbytes, 100 * 64 << 10},
				figure{"writes", got.Io.Usage[0].Wios, 1601},
				figure{"device", got.Io.Usage[0].Major, 7},
			)
			m := got.Memory
			// The release of containerd's library that we compare with does not know these yet.
			m.WorkingsetRefaultAnon, m.WorkingsetRefaultFile, m.WorkingsetActivateAnon, m.WorkingsetActivateFile = 0, 0, 0, 0
			want := theirs2(t, root)
			sortHugetlb(want)
			if !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
				t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
			}
		})
	}
}

func TestStatsOfVersion1FilesOfManyKernelsAreContainerds(t *testing.T) {
	for _, tt := range []struct {
		kernel                        string
		throttled, user, total, wrote uint64
	}{
		{"linux-5.10-v1", 71431014767, 400, 59240365122, 100 * 64 << 10},
		// 6.1 does not count a loop device's by version 1.
		{"linux-6.1-v1", 31739969926, 1552, 29609960380, 0},
	} {
		t.Run(tt.kernel, func(t *testing.T) {
			root := recorded(t, tt.kernel)
			got := stats(t, group1(root, "cpu", "cpuacct", "memory", "pids", "blkio", "rdma")).(*cgroups1.Metrics)
			check(t,
				figure{"throttled time", got.Cpu.Throttling.ThrottledTime, tt.throttled},
				figure{"user time in nanoseconds", got.Cpu.Usage.User, tt.user * 10_000_000},
				figure{"CPU time", got.Cpu.Usage.Total, tt.total},
				figure{"bytes written", got.Blkio.IoServiceBytesRecursive[1].Value, tt.wrote},
				figure{"memory limit", got.Memory.Usage.Limit, 32 << 20},
				figure{"memory and swap limit", got.Memory.Swap.Limit, 64 << 20},
				figure{"OOM kills", got.MemoryOomControl.OomKill, 2},
				figure{"limit of pids", got.Pids.Limit, 32},
			)
			if want := theirs1(t, root); !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
				t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
			}
		})
	}
}
