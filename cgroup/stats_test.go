package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
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

// tree writes files into a directory.
func tree(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// group1 is a version 1 group whose files are in root/CONTROLLER/ctr.
func group1(root string, controllers ...string) *Group {
	g := &Group{}
	for _, c := range controllers {
		g.Places = append(g.Places, Place{Controllers: c, Path: "/ctr", Dir: filepath.Join(root, c, "ctr")})
	}
	return g
}

func group2(root string) *Group {
	return &Group{Places: []Place{{Path: "/ctr", Dir: filepath.Join(root, "ctr")}}}
}

// theirs1 reads the same files with containerd's library.
func theirs1(t testing.TB, root string) *cgroups1.Metrics {
	t.Helper()
	cg, err := cgroup1.Load(cgroup1.StaticPath("/ctr"), cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) {
		return []cgroup1.Subsystem{
			cgroup1.NewCpu(root), cgroup1.NewCpuacct(root), cgroup1.NewMemory(root),
			cgroup1.NewPids(root), cgroup1.NewBlkio(root), cgroup1.NewRdma(root),
		}, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	s, err := cg.Stat(cgroup1.IgnoreNotExist)
	if err != nil {
		t.Fatal(err)
	}
	m := &cgroups1.Metrics{}
	recode(t, s, m)
	return m
}

func theirs2(t testing.TB, root string) *cgroups2.Metrics {
	t.Helper()
	cg, err := cgroup2.Load("/ctr", cgroup2.WithMountpoint(root))
	if err != nil {
		t.Fatal(err)
	}
	s, err := cg.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m := &cgroups2.Metrics{}
	recode(t, s, m)
	return m
}

func recode(t testing.TB, from proto.Message, to ours.Message) {
	t.Helper()
	b, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
}

// The files are those of a group on Linux 6.18 that was throttled, read and wrote.
func TestStatsOfRecordedVersion1FilesAreContainerds(t *testing.T) {
	const root = "testdata/v1"
	got := stats(t, group1(root, "cpu", "cpuacct", "memory", "pids", "blkio")).(*cgroups1.Metrics)
	if want := theirs1(t, root); !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
		t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
	}
	for _, c := range []struct {
		name      string
		got, want uint64
	}{
		{"throttled time", got.Cpu.Throttling.ThrottledTime, 402584581},
		{"throttled periods", got.Cpu.Throttling.ThrottledPeriods, 6},
		{"kernel time in nanoseconds", got.Cpu.Usage.Kernel, 14 * 10_000_000},
		{"time on the second CPU", got.Cpu.Usage.PerCpu[1], 121682948},
		{"memory limit", got.Memory.Usage.Limit, 64 << 20},
		{"highest kernel memory", got.Memory.Kernel.Max, 2088960},
		{"page cache", got.Memory.Cache, 31612928},
		{"limit of pids", got.Pids.Limit, 32},
		{"bytes written", got.Blkio.IoServiceBytesRecursive[1].Value, 44564480},
		{"disk", got.Blkio.IoServiceBytesRecursive[1].Major, 254},
	} {
		if c.got != c.want {
			t.Errorf("%s is %d, want %d", c.name, c.got, c.want)
		}
	}
	if op := got.Blkio.IoServicedRecursive[4].Op; op != "Discard" {
		t.Errorf("fifth operation is %q", op)
	}
}

// numbered writes a flat keyed file in which each key has a number of its own: a
// value in the wrong field shows.
func numbered(first int, keys string) string {
	var b strings.Builder
	for i, k := range strings.Fields(keys) {
		fmt.Fprintf(&b, "%s %d\n", k, first+i)
	}
	return b.String()
}

func TestEachLineOfVersion1GoesToItsField(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"cpu/ctr/cpu.stat":                 numbered(1, "nr_periods nr_throttled throttled_time nr_bursts burst_time"),
		"cpuacct/ctr/cpuacct.stat":         "user 7\nsystem 8\n",
		"cpuacct/ctr/cpuacct.usage":        "18446744073709551615\n",
		"cpuacct/ctr/cpuacct.usage_percpu": "9 10 11 \n",
		"memory/ctr/memory.stat": numbered(100, `cache rss rss_huge shmem mapped_file dirty writeback
			workingset_refault_anon workingset_refault_file swap swapcached pgpgin pgpgout pgfault pgmajfault inactive_anon active_anon
			inactive_file active_file unevictable hierarchical_memory_limit hierarchical_memsw_limit
			total_cache total_rss total_rss_huge total_shmem total_mapped_file total_dirty total_writeback
			total_workingset_refault_anon total_workingset_refault_file total_swap total_swapcached
			total_pgpgin total_pgpgout total_pgfault total_pgmajfault
			total_inactive_anon total_active_anon total_inactive_file total_active_file total_unevictable`),
		"memory/ctr/memory.oom_control": numbered(200, "oom_kill_disable under_oom oom_kill"),
		"pids/ctr/pids.current":         "12\n",
		"pids/ctr/pids.max":             "max\n",
		"rdma/ctr/rdma.current":         "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=3 hca_object=0\n",
		"rdma/ctr/rdma.max":             "mlx4_0 hca_handle=20 hca_object=max\nocrdma1 hca_handle=max hca_object=max\n",
	}
	for i, module := range []string{"memory", "memory.memsw", "memory.kmem", "memory.kmem.tcp"} {
		for j, value := range []string{"usage_in_bytes", "max_usage_in_bytes", "failcnt", "limit_in_bytes"} {
			files["memory/ctr/"+module+"."+value] = fmt.Sprintf("%d\n", 300+10*i+j)
		}
	}
	// The scheduler CFQ of kernels before 5.0.
	for i, file := range []string{"sectors", "io_service_bytes", "io_serviced", "io_queued", "io_service_time", "io_wait_time", "io_merged"} {
		files["blkio/ctr/blkio."+file+"_recursive"] = fmt.Sprintf("8:0 Read %d\n8:0 Total %d\n8:16 Write %d\nTotal 9\n", 400+10*i, 401+10*i, 402+10*i)
	}
	files["blkio/ctr/blkio.time_recursive"] = "8:0 500\n8:16 501\n"
	tree(t, root, files)

	got := stats(t, group1(root, "cpu", "cpuacct", "memory", "pids", "blkio", "rdma"))
	if want := theirs1(t, root); !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
		t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
	}
}

func TestThrottlesCountersStandInForASchedulersThatCountNothing(t *testing.T) {
	root := t.TempDir()
	tree(t, root, map[string]string{
		"blkio/ctr/blkio.io_serviced_recursive":          "Total 0\n",
		"blkio/ctr/blkio.throttle.io_serviced":           "8:0 Read 1\nTotal 1\n",
		"blkio/ctr/blkio.throttle.io_serviced_recursive": "8:0 Read 2\nTotal 2\n",
		"blkio/ctr/blkio.throttle.io_service_bytes":      "8:0 Read 3\nTotal 3\n",
	})
	s := stats(t, group1(root, "blkio")).(*cgroups1.Metrics).Blkio
	if len(s.IoServicedRecursive) != 1 || s.IoServicedRecursive[0].Value != 2 {
		t.Errorf("operations are %s, want the recursive ones", pretty(t, s.IoServicedRecursive))
	}
	if len(s.IoServiceBytesRecursive) != 1 || s.IoServiceBytesRecursive[0].Value != 3 {
		t.Errorf("bytes are %s, want what there is", pretty(t, s.IoServiceBytesRecursive))
	}
}

// The keys are those of Linux 6.18 and, for what was renamed, of 5.4.
func TestEachLineOfVersion2GoesToItsField(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{
		"ctr/cpu.stat": numbered(1, `usage_usec user_usec system_usec nice_usec core_sched.force_idle_usec
			nr_periods nr_throttled throttled_usec nr_bursts burst_usec`),
		"ctr/cpu.pressure":    "some avg10=1.25 avg60=2.50 avg300=3.75 total=4\nfull avg10=0.00 avg60=5.01 avg300=6.99 total=18446744073709551615\n",
		"ctr/memory.pressure": "some avg10=0.10 avg60=0.20 avg300=0.30 total=7\nfull avg10=0.40 avg60=0.50 avg300=0.60 total=8\n",
		"ctr/io.pressure":     "some avg10=100.00 avg60=0.00 avg300=0.00 total=9\n",
		"ctr/memory.stat": numbered(100, `anon file kernel kernel_stack pagetables sec_pagetables percpu sock vmalloc shmem zswap zswapped
			file_mapped file_dirty file_writeback swapcached anon_thp file_thp shmem_thp
			inactive_anon active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable slab
			workingset_refault workingset_activate workingset_refault_anon workingset_refault_file workingset_activate_anon
			workingset_activate_file workingset_restore_anon workingset_restore_file workingset_nodereclaim
			pgdemote_kswapd pgscan pgsteal pgscan_kswapd pgscan_direct pgsteal_kswapd pgsteal_direct
			pgfault pgmajfault pgrefill pgactivate pgdeactivate pglazyfree pglazyfreed swpin_zero zswpin zswpout
			thp_fault_alloc thp_collapse_alloc thp_swpout numa_pages_migrated`),
		"ctr/memory.current":      "201\n",
		"ctr/memory.max":          "max\n",
		"ctr/memory.peak":         "203\n",
		"ctr/memory.swap.current": "204\n",
		"ctr/memory.swap.max":     "205\n",
		"ctr/memory.swap.peak":    "206\n",
		"ctr/memory.events":       numbered(300, "low high max oom oom_kill oom_group_kill sock_throttled"),
		"ctr/pids.current":        "12\n",
		"ctr/pids.max":            "max\n",
		"ctr/io.stat": "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=5 dios=6\n" +
			"259:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0 cost.vrate=100.00 cost.usage=7\n",
		"ctr/rdma.current":        "mlx4_0 hca_handle=2 hca_object=2000\n",
		"ctr/rdma.max":            "mlx4_0 hca_handle=20 hca_object=max\n",
		"ctr/hugetlb.2MB.max":     "max\n",
		"ctr/hugetlb.2MB.current": "4194304\n",
		"ctr/hugetlb.2MB.events":  "max 3\n",
	}
	tree(t, root, files)
	got := stats(t, group2(root)).(*cgroups2.Metrics)
	// The release of containerd's library that we compare with does not know these yet.
	m := got.Memory
	if m.WorkingsetRefaultAnon != 129 || m.WorkingsetRefaultFile != 130 || m.WorkingsetActivateAnon != 131 || m.WorkingsetActivateFile != 132 {
		t.Errorf("the working set is %s", pretty(t, m))
	}
	m.WorkingsetRefaultAnon, m.WorkingsetRefaultFile, m.WorkingsetActivateAnon, m.WorkingsetActivateFile = 0, 0, 0, 0
	want := theirs2(t, root)
	sortHugetlb(want)
	if !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
		t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
	}
}

// sortHugetlb: containerd has them in the order of a directory.
func sortHugetlb(m *cgroups2.Metrics) {
	if len(m.Hugetlb) == 2 && m.Hugetlb[0].Pagesize > m.Hugetlb[1].Pagesize {
		m.Hugetlb[0], m.Hugetlb[1] = m.Hugetlb[1], m.Hugetlb[0]
	}
}

func TestStatsOfAVersion2GroupWithoutControllersAreContainerds(t *testing.T) {
	root := t.TempDir()
	tree(t, root, map[string]string{"ctr/cpu.stat": "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"})
	got := stats(t, group2(root)).(*cgroups2.Metrics)
	want := theirs2(t, root)
	sortHugetlb(want)
	if !reflect.DeepEqual(normal(t, got), ours.Message(want)) {
		t.Errorf("ours is\n%s\ncontainerd's is\n%s", pretty(t, got), pretty(t, want))
	}
	if got.MemoryEvents != nil || got.Cpu.Psi != nil {
		t.Errorf("things are there that are not: %s", pretty(t, got))
	}
}

func TestStatsNameTheFileThatMakesNoSense(t *testing.T) {
	for file, content := range map[string]string{
		"memory.current":  "12 13\n",
		"memory.max":      "maximum\n",
		"pids.max":        "99999999999999999999999\n",
		"cpu.stat":        "usage_usec\n",
		"memory.events":   "oom x\n",
		"memory.pressure": "some avg10=x\n",
		"io.pressure":     "full avg10\n",
	} {
		root := t.TempDir()
		tree(t, root, map[string]string{"ctr/memory.stat": "anon 1\n", "ctr/" + file: content})
		m, err := group2(root).Stats()
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s with %q: %v, %v", file, content, m, err)
		}
	}
}

// These lines come from machines of people who reported them.
func TestIOLinesOfEveryKernel(t *testing.T) {
	for _, c := range []struct {
		line string
		want *cgroups2.IOEntry
	}{
		{"8:32 rbytes=999678391296 wbytes=198034948096 rios=3100795 wios=1051435 dbytes=0 dios=0",
			&cgroups2.IOEntry{Major: 8, Minor: 32, Rbytes: 999678391296, Wbytes: 198034948096, Rios: 3100795, Wios: 1051435}},
		{"7:7 7:6 7:5 7:4 rbytes=28672 wbytes=0 rios=22 wios=0 dbytes=0 dios=0", &cgroups2.IOEntry{Major: 7, Minor: 4, Rbytes: 28672, Rios: 22}},
		{"7:7 7:6 7:5 1:0", nil},
		{"(unknown) rbytes=4096 wbytes=0 rios=1 wios=0", nil},
		{"8:0 (unknown) rbytes=4096", nil},
		{"8:0 rbytes=x wbytes=1", &cgroups2.IOEntry{Major: 8, Wbytes: 1}},
		{"8:0", nil},
		{"rbytes=1", nil},
		{"x:y rbytes=1", nil},
	} {
		var got *cgroups2.IOEntry
		err := parseWords([]byte(c.line+"\n"), func(words [][]byte) error {
			got = parseIO(words)
			return nil
		})
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, %v, want %+v", c.line, got, err, c.want)
		}
	}
}

func TestBlkioLinesOfEveryKernel(t *testing.T) {
	for _, c := range []struct {
		line string
		want *cgroups1.BlkIOEntry
		ok   bool
	}{
		{"8:0 Read 4096", &cgroups1.BlkIOEntry{Major: 8, Op: "Read", Value: 4096}, true},
		{"259:3 Flush 1", &cgroups1.BlkIOEntry{Major: 259, Minor: 3, Op: "Flush", Value: 1}, true},
		{"8:0 77", &cgroups1.BlkIOEntry{Major: 8, Value: 77}, true},
		{"Total 4096", nil, true},
		{"(unknown) Read 0", nil, true},
		{"8:0", nil, false},
		{"8:0 Read x", nil, false},
		{"8:0 Read 1 2", nil, false},
	} {
		var got *cgroups1.BlkIOEntry
		err := parseWords([]byte(c.line), func(words [][]byte) (err error) {
			got, err = parseBlkio(words)
			return err
		})
		if (err == nil) != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, %v, want %+v", c.line, got, err, c.want)
		}
	}
}

func TestNumbersAsTheKernelWritesThem(t *testing.T) {
	for _, c := range []struct {
		s    string
		want uint64
		ok   bool
	}{
		{"0", 0, true},
		{"18446744073709551615", 18446744073709551615, true},
		{"-1", 0, true},
		{"-9223372036854775808", 0, true},
		{"-99999999999999999999999", 0, true},
		{"18446744073709551616", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{"--1", 0, false},
		{"1 ", 0, false},
		{"0x1", 0, false},
	} {
		got, err := number([]byte(c.s))
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: %d, %v", c.s, got, err)
		}
	}
}

func TestDevicesAreNamedFromPartitions(t *testing.T) {
	names, err := parsePartitions([]byte(`major minor  #blocks  name

   8        0  488386584 sda
   8        1     524288 sda1
 259        0  500107608 nvme0n1
   8        0  488386584 again
`))
	want := map[device]string{{8, 0}: "/dev/sda", {8, 1}: "/dev/sda1", {259, 0}: "/dev/nvme0n1"}
	if err != nil || !reflect.DeepEqual(names, want) {
		t.Errorf("got %v, %v", names, err)
	}
	for _, b := range []string{"header\n8 0 sda\n", "header\nx 0 1 sda\n", "header\n8 x 1 sda\n"} {
		if names, err := parsePartitions([]byte(b)); err == nil {
			t.Errorf("%q gave %v", b, names)
		}
	}
}

func TestHugePageSizesAreCalledAsInTheFilesNames(t *testing.T) {
	for name, want := range map[string]string{
		"hugepages-2048kB": "2MB", "hugepages-1048576kB": "1GB", "hugepages-64kB": "64KB", "hugepages-16777216kB": "16GB",
		"hugepages-x": "", "hugepages-2048": "", "other": "", "hugepages-kB": "",
	} {
		if got, ok := hugePageSize(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func FuzzFlatKeyed(f *testing.F) {
	f.Add([]byte("anon 1\nfile 2\n\nslab -3\n"))
	f.Add([]byte("max 18446744073709551615"))
	f.Fuzz(func(t *testing.T, b []byte) {
		lines := 0
		err := parseFlat(b, func(key []byte, value uint64) {
			lines++
			memoryStat1(&cgroups1.MemoryStat{}, key, value)
			memoryStat2(&cgroups2.MemoryStat{}, key, value)
		})
		if err == nil && lines > strings.Count(string(b), "\n")+1 {
			t.Errorf("%d keys of %q", lines, b)
		}
	})
}

// fuzzLines fuzzes what reads one line of a file, of which there may be many.
func fuzzLines(f *testing.F, parse func(t *testing.T, words [][]byte), seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = parseWords(b, func(words [][]byte) error {
			if len(words) == 0 {
				t.Fatal("a line without words")
			}
			parse(t, words)
			return nil
		})
	})
}

func FuzzIOStat(f *testing.F) {
	fuzzLines(f, func(t *testing.T, words [][]byte) {
		if e := parseIO(words); e != nil && len(words) < 2 {
			t.Errorf("%q counts %+v", words, e)
		}
	}, "8:16 rbytes=1459200 wbytes=0 rios=192 wios=353 dbytes=0 dios=0\n7:7 7:6 rbytes=1\n(unknown) rbytes=4\n")
}

func FuzzPressure(f *testing.F) {
	fuzzLines(f, func(t *testing.T, words [][]byte) {
		var d cgroups2.PSIData
		if err := parsePressure(words[1:], &d); err == nil && len(words) == 1 && d != (cgroups2.PSIData{}) {
			t.Errorf("%q is %+v", words, d)
		}
	}, "some avg10=0.12 avg60=0.05 avg300=0.01 total=8855\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
}

func FuzzRdma(f *testing.F) {
	fuzzLines(f, func(t *testing.T, words [][]byte) {
		if handles, objects := parseRdma(words); len(words) == 1 && (handles != 0 || objects != 0) {
			t.Errorf("%q has %d handles and %d objects", words, handles, objects)
		}
	}, "mlx5_0 hca_handle=2 hca_object=max\nocrdma1\n")
}

func FuzzBlkio(f *testing.F) {
	fuzzLines(f, func(t *testing.T, words [][]byte) {
		if e, err := parseBlkio(words); e != nil && err != nil {
			t.Errorf("%q is %+v and %v", words, e, err)
		}
	}, "8:0 Read 4096\n8:0 77\nTotal 4096\n")
}

func FuzzPartitions(f *testing.F) {
	f.Add([]byte("major minor  #blocks  name\n\n 8 0 488386584 sda\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		names, _ := parsePartitions(b)
		for d, name := range names {
			if !strings.HasPrefix(name, "/dev/") {
				t.Errorf("%v is called %q", d, name)
			}
		}
	})
}

func FuzzPids(f *testing.F) {
	f.Add([]byte("1\n23\n23\n0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pids, _ := parsePids(b, make(map[int]struct{}), nil)
		seen := make(map[int]bool)
		for _, pid := range pids {
			if pid <= 0 || seen[pid] {
				t.Errorf("pid %d of %q", pid, b)
			}
			seen[pid] = true
		}
	})
}
