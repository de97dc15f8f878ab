package cgroup

import (
	"bytes"

	"github.com/holdfast-shim/holdfast/proto/cgroups1"
)

// stats1 reads version 1's controllers. A limit of "max" is 0 there, as in
// containerd.
func (g *Group) stats1() (*cgroups1.Metrics, error) {
	m := &cgroups1.Metrics{
		Cpu: &cgroups1.CPUStat{Usage: &cgroups1.CPUUsage{}, Throttling: &cgroups1.Throttle{}},
	}
	found := false
	var buf []byte
	for _, c := range [...]struct {
		controller string
		read       func(*files, *cgroups1.Metrics)
	}{
		{"cpu", cpu1},
		{"cpuacct", cpuacct1},
		{"memory", memory1},
		{"pids", pids1},
		{"blkio", blkio1},
		{"hugetlb", hugetlb1},
		{"rdma", rdma1},
	} {
		p, ok := g.with(c.controller)
		if !ok {
			continue
		}
		f, err := openFiles(p.Dir, buf)
		if err != nil {
			if gone(err) {
				continue
			}
			return nil, err
		}
		found = true
		c.read(f, m)
		f.close()
		buf = f.buf
		// A group that is removed while it is read shows ENODEV.
		if f.err != nil && !gone(f.err) {
			return nil, f.err
		}
	}
	if !found {
		return nil, ErrGone
	}
	return m, nil
}

func cpu1(f *files, m *cgroups1.Metrics) {
	t := m.Cpu.Throttling
	f.flat("cpu.stat", func(key []byte, value uint64) {
		switch string(key) {
		case "nr_periods":
			t.Periods = value
		case "nr_throttled":
			t.ThrottledPeriods = value
		case "throttled_time":
			t.ThrottledTime = value
		}
	})
}

func cpuacct1(f *files, m *cgroups1.Metrics) {
	// cpuacct.stat counts in ticks; to user space they are 100 a second everywhere.
	const tick = 1e9 / 100
	u := m.Cpu.Usage
	f.flat("cpuacct.stat", func(key []byte, value uint64) {
		switch string(key) {
		case "user":
			u.User = value * tick
		case "system":
			u.Kernel = value * tick
		}
	})
	u.Total = f.number("cpuacct.usage", 0)
	f.words("cpuacct.usage_percpu", func(words [][]byte) error {
		for _, w := range words {
			n, err := number(w)
			if err != nil {
				return err
			}
			u.PerCpu = append(u.PerCpu, n)
		}
		return nil
	})
}

func pids1(f *files, m *cgroups1.Metrics) {
	m.Pids = &cgroups1.PidsStat{
		Current: f.number("pids.current", 0),
		Limit:   f.number("pids.max", 0),
	}
}

func memory1(f *files, m *cgroups1.Metrics) {
	s := &cgroups1.MemoryStat{}
	m.Memory = s
	f.flat("memory.stat", func(key []byte, value uint64) { memoryStat1(s, key, value) })

	o := &cgroups1.MemoryOomControl{}
	m.MemoryOomControl = o
	f.flat("memory.oom_control", func(key []byte, value uint64) {
		switch string(key) {
		case "oom_kill_disable":
			o.OomKillDisable = value
		case "under_oom":
			o.UnderOom = value
		case "oom_kill":
			o.OomKill = value
		}
	})

	s.Usage = memoryEntry1(f, "memory")
	s.Swap = memoryEntry1(f, "memory.memsw")
	s.Kernel = memoryEntry1(f, "memory.kmem")
	s.KernelTcp = memoryEntry1(f, "memory.kmem.tcp")
}

func memoryEntry1(f *files, prefix string) *cgroups1.MemoryEntry {
	e := &cgroups1.MemoryEntry{}
	e.Usage, e.Max, e.Failcnt = counter1(f, prefix)
	e.Limit = f.number(prefix+".limit_in_bytes", 0)
	return e
}

// counter1 reads one of version 1's counters of pages. What was never used is not in
// use now, and that is most of them.
func counter1(f *files, prefix string) (usage, most, failures uint64) {
	if most = f.number(prefix+".max_usage_in_bytes", 0); most > 0 {
		usage = f.number(prefix+".usage_in_bytes", 0)
	}
	return usage, most, f.number(prefix+".failcnt", 0)
}

// memoryStat1 puts one line of memory.stat into its field. The lines that begin with
// "total_" count the groups nested in this one too.
func memoryStat1(s *cgroups1.MemoryStat, key []byte, value uint64) {
	switch string(key) {
	case "cache":
		s.Cache = value
	case "rss":
		s.Rss = value
	case "rss_huge":
		s.RssHuge = value
	case "mapped_file":
		s.MappedFile = value
	case "dirty":
		s.Dirty = value
	case "writeback":
		s.Writeback = value
	case "pgpgin":
		s.PgPgIn = value
	case "pgpgout":
		s.PgPgOut = value
	case "pgfault":
		s.PgFault = value
	case "pgmajfault":
		s.PgMajFault = value
	case "inactive_anon":
		s.InactiveAnon = value
	case "active_anon":
		s.ActiveAnon = value
	case "inactive_file":
		s.InactiveFile = value
	case "active_file":
		s.ActiveFile = value
	case "unevictable":
		s.Unevictable = value
	case "hierarchical_memory_limit":
		s.HierarchicalMemoryLimit = value
	case "hierarchical_memsw_limit":
		s.HierarchicalSwapLimit = value
	case "total_cache":
		s.TotalCache = value
	case "total_rss":
		s.TotalRss = value
	case "total_rss_huge":
		s.TotalRssHuge = value
	case "total_mapped_file":
		s.TotalMappedFile = value
	case "total_dirty":
		s.TotalDirty = value
	case "total_writeback":
		s.TotalWriteback = value
	case "total_pgpgin":
		s.TotalPgPgIn = value
	case "total_pgpgout":
		s.TotalPgPgOut = value
	case "total_pgfault":
		s.TotalPgFault = value
	case "total_pgmajfault":
		s.TotalPgMajFault = value
	case "total_inactive_anon":
		s.TotalInactiveAnon = value
	case "total_active_anon":
		s.TotalActiveAnon = value
	case "total_inactive_file":
		s.TotalInactiveFile = value
	case "total_active_file":
		s.TotalActiveFile = value
	case "total_unevictable":
		s.TotalUnevictable = value
	}
}

// blkio1 reads the counters of the scheduler CFQ where the kernel has it (before
// Linux 5.0) and it counts anything, else those of throttling, which count all I/O
// whatever the scheduler.
func blkio1(f *files, m *cgroups1.Metrics) {
	s := &cgroups1.BlkIOStat{}
	m.Blkio = s
	if blkioFile(f, "blkio.io_serviced_recursive", &s.IoServicedRecursive) {
		blkioFile(f, "blkio.sectors_recursive", &s.SectorsRecursive)
		blkioFile(f, "blkio.io_service_bytes_recursive", &s.IoServiceBytesRecursive)
		blkioFile(f, "blkio.io_queued_recursive", &s.IoQueuedRecursive)
		blkioFile(f, "blkio.io_service_time_recursive", &s.IoServiceTimeRecursive)
		blkioFile(f, "blkio.io_wait_time_recursive", &s.IoWaitTimeRecursive)
		blkioFile(f, "blkio.io_merged_recursive", &s.IoMergedRecursive)
		blkioFile(f, "blkio.time_recursive", &s.IoTimeRecursive)
	}
	counted := 0
	for _, list := range blkioLists(s) {
		counted += len(list)
	}
	if counted == 0 {
		// Older kernels have no recursive ones of these.
		if !blkioFile(f, "blkio.throttle.io_serviced_recursive", &s.IoServicedRecursive) {
			blkioFile(f, "blkio.throttle.io_serviced", &s.IoServicedRecursive)
		}
		if !blkioFile(f, "blkio.throttle.io_service_bytes_recursive", &s.IoServiceBytesRecursive) {
			blkioFile(f, "blkio.throttle.io_service_bytes", &s.IoServiceBytesRecursive)
		}
	}
	nameDevices(f, s)
}

func blkioLists(s *cgroups1.BlkIOStat) [8][]*cgroups1.BlkIOEntry {
	return [...][]*cgroups1.BlkIOEntry{
		s.IoServiceBytesRecursive, s.IoServicedRecursive, s.IoQueuedRecursive, s.IoServiceTimeRecursive,
		s.IoWaitTimeRecursive, s.IoMergedRecursive, s.IoTimeRecursive, s.SectorsRecursive,
	}
}

// blkioFile says whether there is such a file.
func blkioFile(f *files, name string, into *[]*cgroups1.BlkIOEntry) bool {
	return f.words(name, func(words [][]byte) error {
		e, err := parseBlkio(words)
		if e != nil {
			*into = append(*into, e)
		}
		return err
	})
}

// parseBlkio reads a line of one of blkio's files: "8:0 Read 4096", or without the
// operation "8:0 4096". The sum at the end, "Total 4096", and the line of a device
// that was taken away, "(unknown) Read 0", are nil.
func parseBlkio(words [][]byte) (*cgroups1.BlkIOEntry, error) {
	if len(words) != 2 && len(words) != 3 {
		return nil, errLine
	}
	d, ok := parseDevice(words[0])
	if !ok {
		return nil, nil
	}
	value, err := number(words[len(words)-1])
	if err != nil {
		return nil, errLine
	}
	e := &cgroups1.BlkIOEntry{Major: d.major, Minor: d.minor, Value: value}
	if len(words) == 3 {
		e.Op = operation(words[1])
	}
	return e, nil
}

// operation saves a string each for the usual ones.
func operation(b []byte) string {
	for _, op := range [...]string{"Read", "Write", "Sync", "Async", "Discard", "Total"} {
		if string(b) == op {
			return op
		}
	}
	return string(bytes.Clone(b))
}

// nameDevices fills in the names of the devices, if there are any.
func nameDevices(f *files, s *cgroups1.BlkIOStat) {
	var names map[device]string
	for _, list := range blkioLists(s) {
		for _, e := range list {
			if names == nil {
				b, err := readFile("/proc/partitions")
				if err == nil {
					names, err = parsePartitions(b)
				}
				if err != nil {
					f.fail("read", "partitions", err)
					return
				}
			}
			e.Device = names[device{e.Major, e.Minor}]
		}
	}
}

func hugetlb1(f *files, m *cgroups1.Metrics) {
	for _, size := range hugePageSizes() {
		s := &cgroups1.HugetlbStat{Pagesize: size}
		s.Usage, s.Max, s.Failcnt = counter1(f, "hugetlb."+size)
		m.Hugetlb = append(m.Hugetlb, s)
	}
}

func rdma1(f *files, m *cgroups1.Metrics) {
	s := &cgroups1.RdmaStat{}
	m.Rdma = s
	for _, c := range [...]struct {
		file string
		into *[]*cgroups1.RdmaEntry
	}{{"rdma.current", &s.Current}, {"rdma.max", &s.Limit}} {
		f.words(c.file, func(words [][]byte) error {
			handles, objects := parseRdma(words)
			*c.into = append(*c.into, &cgroups1.RdmaEntry{Device: string(words[0]), HcaHandles: handles, HcaObjects: objects})
			return nil
		})
	}
}
