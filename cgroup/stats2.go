package cgroup

import (
	"math"
	"strconv"

	"github.com/holdfast-shim/holdfast/proto/cgroups2"
)

// stats2 reads version 2's files. A limit of "max" is the highest number there, as
// in containerd.
func (g *Group) stats2() (*cgroups2.Metrics, error) {
	p, ok := g.with("")
	if !ok {
		return nil, ErrGone
	}
	f, err := openFiles(p.Dir, nil)
	if err != nil {
		return nil, err
	}
	defer f.close()
	m := &cgroups2.Metrics{
		Pids: &cgroups2.PidsStat{
			Current: f.number("pids.current", math.MaxUint64),
			Limit:   f.number("pids.max", math.MaxUint64),
		},
		Cpu:          cpu2(f),
		Memory:       memory2(f),
		MemoryEvents: memoryEvents2(f),
		Io:           &cgroups2.IOStat{Usage: io2(f), Psi: pressure(f, "io.pressure")},
		Rdma:         &cgroups2.RdmaStat{Current: rdma2(f, "rdma.current"), Limit: rdma2(f, "rdma.max")},
		Hugetlb:      hugetlb2(f),
	}
	if f.err != nil {
		return nil, f.err
	}
	return m, nil
}

func cpu2(f *files) *cgroups2.CPUStat {
	s := &cgroups2.CPUStat{}
	f.flat("cpu.stat", func(key []byte, value uint64) {
		switch string(key) {
		case "usage_usec":
			s.UsageUsec = value
		case "user_usec":
			s.UserUsec = value
		case "system_usec":
			s.SystemUsec = value
		case "nr_periods":
			s.NrPeriods = value
		case "nr_throttled":
			s.NrThrottled = value
		case "throttled_usec":
			s.ThrottledUsec = value
		case "nr_bursts":
			s.NrBursts = value
		case "burst_usec":
			s.BurstUsec = value
		}
	})
	s.Psi = pressure(f, "cpu.pressure")
	return s
}

// memory2 is empty where the memory controller is not on.
func memory2(f *files) *cgroups2.MemoryStat {
	s := &cgroups2.MemoryStat{}
	on := false
	f.flat("memory.stat", func(key []byte, value uint64) {
		on = true
		memoryStat2(s, key, value)
	})
	if !on {
		return s
	}
	s.Usage = f.number("memory.current", math.MaxUint64)
	s.UsageLimit = f.number("memory.max", math.MaxUint64)
	s.MaxUsage = f.number("memory.peak", math.MaxUint64)
	s.SwapUsage = f.number("memory.swap.current", math.MaxUint64)
	s.SwapLimit = f.number("memory.swap.max", math.MaxUint64)
	s.SwapMaxUsage = f.number("memory.swap.peak", math.MaxUint64)
	s.Psi = pressure(f, "memory.pressure")
	return s
}

// memoryStat2 puts one line of memory.stat into its field.
func memoryStat2(s *cgroups2.MemoryStat, key []byte, value uint64) {
	switch string(key) {
	case "anon":
		s.Anon = value
	case "file":
		s.File = value
	case "kernel_stack":
		s.KernelStack = value
	case "slab":
		s.Slab = value
	case "sock":
		s.Sock = value
	case "shmem":
		s.Shmem = value
	case "file_mapped":
		s.FileMapped = value
	case "file_dirty":
		s.FileDirty = value
	case "file_writeback":
		s.FileWriteback = value
	case "anon_thp":
		s.AnonThp = value
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
	case "slab_reclaimable":
		s.SlabReclaimable = value
	case "slab_unreclaimable":
		s.SlabUnreclaimable = value
	case "pgfault":
		s.Pgfault = value
	case "pgmajfault":
		s.Pgmajfault = value
	case "workingset_refault":
		s.WorkingsetRefault = value
	case "workingset_refault_anon":
		s.WorkingsetRefaultAnon = value
	case "workingset_refault_file":
		s.WorkingsetRefaultFile = value
	case "workingset_activate":
		s.WorkingsetActivate = value
	case "workingset_activate_anon":
		s.WorkingsetActivateAnon = value
	case "workingset_activate_file":
		s.WorkingsetActivateFile = value
	case "workingset_nodereclaim":
		s.WorkingsetNodereclaim = value
	case "pgrefill":
		s.Pgrefill = value
	case "pgscan":
		s.Pgscan = value
	case "pgsteal":
		s.Pgsteal = value
	case "pgactivate":
		s.Pgactivate = value
	case "pgdeactivate":
		s.Pgdeactivate = value
	case "pglazyfree":
		s.Pglazyfree = value
	case "pglazyfreed":
		s.Pglazyfreed = value
	case "thp_fault_alloc":
		s.ThpFaultAlloc = value
	case "thp_collapse_alloc":
		s.ThpCollapseAlloc = value
	}
}

// memoryEvents2 is nil where the memory controller is not on.
func memoryEvents2(f *files) *cgroups2.MemoryEvents {
	var e *cgroups2.MemoryEvents
	f.flat("memory.events", func(key []byte, value uint64) {
		if e == nil {
			e = &cgroups2.MemoryEvents{}
		}
		switch string(key) {
		case "low":
			e.Low = value
		case "high":
			e.High = value
		case "max":
			e.Max = value
		case "oom":
			e.Oom = value
		case "oom_kill":
			e.OomKill = value
		case "oom_group_kill":
			e.OomGroupKill = value
		}
	})
	return e
}

func io2(f *files) []*cgroups2.IOEntry {
	var entries []*cgroups2.IOEntry
	f.words("io.stat", func(words [][]byte) error {
		if e := parseIO(words); e != nil {
			entries = append(entries, e)
		}
		return nil
	})
	return entries
}

// parseIO reads a line of io.stat: "8:16 rbytes=1459200 wbytes=0 rios=192 …". Not
// every kernel writes it like that. Some leave out the end of the line after devices
// that have nothing to count, as in "7:7 7:6 7:5 rbytes=28672 …": the counters are
// those of the last one. A device that was taken away can be "(unknown)". A line
// that counts nothing, or for nobody, is nil.
func parseIO(words [][]byte) *cgroups2.IOEntry {
	var e *cgroups2.IOEntry
	var dev device
	known := false
	for _, w := range words {
		key, value, ok := pair(w)
		if !ok {
			dev, known = parseDevice(w)
			continue
		}
		n, err := number(value)
		if err != nil || !known {
			// Some of the values that I/O controllers add are no numbers.
			continue
		}
		if e == nil {
			e = &cgroups2.IOEntry{Major: dev.major, Minor: dev.minor}
		}
		switch string(key) {
		case "rbytes":
			e.Rbytes = n
		case "wbytes":
			e.Wbytes = n
		case "rios":
			e.Rios = n
		case "wios":
			e.Wios = n
		}
	}
	return e
}

// pressure reads one of the files of pressure stall information; nil where the
// kernel has none.
func pressure(f *files, name string) *cgroups2.PSIStats {
	var s *cgroups2.PSIStats
	f.words(name, func(words [][]byte) error {
		if s == nil {
			s = &cgroups2.PSIStats{}
		}
		switch string(words[0]) {
		case "some":
			s.Some = &cgroups2.PSIData{}
			return parsePressure(words[1:], s.Some)
		case "full":
			s.Full = &cgroups2.PSIData{}
			return parsePressure(words[1:], s.Full)
		}
		return nil
	})
	return s
}

// parsePressure reads "avg10=0.12 avg60=0.05 avg300=0.01 total=8855".
func parsePressure(words [][]byte, d *cgroups2.PSIData) error {
	for _, w := range words {
		key, value, ok := pair(w)
		if !ok {
			return errLine
		}
		var err error
		switch string(key) {
		case "avg10":
			d.Avg10, err = strconv.ParseFloat(string(value), 64)
		case "avg60":
			d.Avg60, err = strconv.ParseFloat(string(value), 64)
		case "avg300":
			d.Avg300, err = strconv.ParseFloat(string(value), 64)
		case "total":
			d.Total, err = number(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func rdma2(f *files, name string) []*cgroups2.RdmaEntry {
	var entries []*cgroups2.RdmaEntry
	f.words(name, func(words [][]byte) error {
		handles, objects := parseRdma(words)
		entries = append(entries, &cgroups2.RdmaEntry{Device: string(words[0]), HcaHandles: handles, HcaObjects: objects})
		return nil
	})
	return entries
}

// parseRdma reads "mlx5_0 hca_handle=2 hca_object=max".
func parseRdma(words [][]byte) (handles, objects uint32) {
	for _, w := range words[1:] {
		key, value, _ := pair(w)
		n, err := strconv.ParseUint(string(value), 10, 32)
		if string(value) == "max" {
			n = math.MaxUint32
		} else if err != nil {
			continue
		}
		switch string(key) {
		case "hca_handle":
			handles = uint32(n)
		case "hca_object":
			objects = uint32(n)
		}
	}
	return handles, objects
}

func hugetlb2(f *files) []*cgroups2.HugeTlbStat {
	var stats []*cgroups2.HugeTlbStat
	for _, size := range hugePageSizes() {
		s := &cgroups2.HugeTlbStat{
			Current:  f.number("hugetlb."+size+".current", math.MaxUint64),
			Max:      f.number("hugetlb."+size+".max", math.MaxUint64),
			Pagesize: size,
		}
		f.flat("hugetlb."+size+".events", func(key []byte, value uint64) {
			if string(key) == "max" {
				s.Failcnt = value
			}
		})
		stats = append(stats, s)
	}
	return stats
}
