package main

import "fmt"

// limit bounds a measure by a number of its unit, by a share of what the better
// of the other shims has, or by a share of what there is without a shim; the zero is
// no limit. For a measure of which more is better the limit is a lower one. Of two
// shares it is enough to keep one.
type limit struct {
	most  *float64
	times float64
	bare  float64
}

func most(v float64) limit  { return limit{most: &v} }
func times(v float64) limit { return limit{times: v} }

// measure is one row of the report.
type measure struct {
	group string // the name by which -groups chooses it
	key   string // names it in JSON, and never changes
	label string
	unit  string
	more  bool // more is better

	budget limit // what DESIGN promises
	check  limit // what -check fails at
}

// The groups, in the order in which they are run and shown.
const (
	groupSize    = "size"
	groupMemory  = "memory"
	groupLatency = "latency"
	groupExecs   = "execs"
	groupStdout  = "stdout"
	groupStorm   = "storm"
	groupProbes  = "probes"
	groupRuns    = "runs"
)

func groups() []string {
	return []string{groupSize, groupMemory, groupLatency, groupExecs, groupStdout, groupStorm, groupProbes, groupRuns}
}

// measures are all rows with their limits. Where ours does not keep its budget
// yet, the check holds it to what it has reached. A check that depends on time is a
// ratio to what the other shims needed in the same run, with slack, because
// machines that run checks are busy and differ; the others do not depend on
// the machine. What a container writes cannot pass a shim faster than it passes a
// pipe alone, which on some machines the others come near: the check asks for a
// share of that, or for more than theirs where the pipe alone stays in one cache.
func measures() []measure {
	const mb, ms, n = "MB", "ms", ""
	var none limit
	return []measure{
		{groupSize, "size.binary", "binary, stripped", mb, false, most(6.5), most(6.7)},

		{groupMemory, "memory.anonymous", "anonymous", mb, false, most(1.2), most(1.35)},
		{groupMemory, "memory.rss", "RSS", mb, false, most(7.5), most(7.8)},
		{groupMemory, "memory.pss", "Pss", mb, false, none, none},
		{groupMemory, "memory.threads", "threads", n, false, most(7), most(8)},
		{groupMemory, "memory.fds", "descriptors", n, false, none, none},
		{groupMemory, "memory.many.anonymous", "of many: anonymous", mb, false, most(1.2), most(1.35)},
		{groupMemory, "memory.many.rss", "of many: RSS", mb, false, most(7.5), most(7.8)},
		{groupMemory, "memory.many.pss", "of many: Pss", mb, false, none, none},
		{groupMemory, "memory.many.threads", "of many: threads", n, false, most(7), most(8)},

		{groupLatency, "latency.launch", "start, exec to answer", ms, false, times(0.6), times(1.5)},
		{groupLatency, "latency.create", "Create", ms, false, none, none},
		{groupLatency, "latency.start", "Start", ms, false, none, none},
		{groupLatency, "latency.added", "Create + Start, beyond runc", ms, false, most(4), times(1.5)},
		{groupLatency, "latency.added.launch", "with start, beyond runc", ms, false, none, times(1.5)},
		{groupLatency, "latency.state", "State", ms, false, none, times(2.5)},
		{groupLatency, "latency.pids", "Pids", ms, false, most(0.3), times(0.4)},
		{groupLatency, "latency.stats", "Stats", ms, false, most(0.4), times(2.5)},
		{groupLatency, "latency.kill", "Kill", ms, false, most(0.3), times(0.4)},
		{groupLatency, "latency.killed", "Kill to exit event", ms, false, none, times(1.5)},
		{groupLatency, "latency.exec", "exec, add to delete", ms, false, none, times(2.5)},
		{groupLatency, "latency.exec.added", "exec, beyond runc", ms, false, none, times(1.5)},
		{groupLatency, "latency.delete", "Delete", ms, false, none, times(2.5)},
		{groupLatency, "latency.delete.added", "Delete, beyond runc", ms, false, none, times(2)},
		{groupLatency, "latency.shutdown", "Shutdown, until it is gone", ms, false, none, none},
		{groupLatency, "latency.life", "whole life of `true`", ms, false, none, times(2.5)},

		{groupExecs, "execs.anonymous", "anonymous, after execs", mb, false, none, none},
		{groupExecs, "execs.anonymous.growth", "anonymous, growth", mb, false, most(0.3), most(0.6)},
		{groupExecs, "execs.fds.growth", "descriptors, growth", n, false, most(0), most(0)},
		{groupExecs, "execs.threads", "threads, after execs", n, false, most(7), most(9)},

		{groupStdout, "stdout.bulk.rate", "64 KiB writes", "GiB/s", true, times(3), limit{times: 1.5, bare: 0.6}},
		{groupStdout, "stdout.bulk.cpu", "64 KiB writes, shim's CPU", "ms/GiB", false, most(100), times(0.5)},
		{groupStdout, "stdout.lines.rate", "100-byte writes", "GiB/s", true, none, none},
		{groupStdout, "stdout.lines.cpu", "100-byte writes, shim's CPU", "ms/GiB", false, none, none},

		{groupStorm, "storm.time", "containers started 8 at a time, each", ms, false, none, times(2.5)},

		{groupProbes, "probes.rate", "exec probes, of 50 wanted", "/s", true, none, none},
		{groupProbes, "probes.cpu", "shim's CPU for each", ms, false, none, times(1.5)},
		{groupProbes, "probes.cpu.all", "with the programs it runs", ms, false, none, none},

		{groupRuns, "runs.create", "runtime runs: Create", n, false, most(1), most(1)},
		{groupRuns, "runs.start", "Start", n, false, most(1), most(1)},
		{groupRuns, "runs.exec", "exec, add to delete", n, false, most(1), most(1)},
		{groupRuns, "runs.calls", "State, Pids, Stats, Kill together", n, false, most(0), most(0)},
		{groupRuns, "runs.delete", "Delete", n, false, most(1), most(1)},
	}
}

// describe is the limit in words.
func (l limit) describe(m measure) string {
	sign := "≤"
	if m.more {
		sign = "≥"
	}
	switch {
	case l.most != nil && m.unit != "":
		return fmt.Sprintf("%s %s %s", sign, trim(*l.most), m.unit)
	case l.most != nil:
		return fmt.Sprintf("%s %s", sign, trim(*l.most))
	case l.times != 0 && l.bare != 0:
		return fmt.Sprintf("%s %s × best or %s × %s", sign, trim(l.times), trim(l.bare), rawName)
	case l.times != 0:
		return fmt.Sprintf("%s %s × best", sign, trim(l.times))
	case l.bare != 0:
		return fmt.Sprintf("%s %s × %s", sign, trim(l.bare), rawName)
	}
	return ""
}

// verdict is what a value is against a limit.
type verdict int

const (
	notBound verdict = iota // there is no limit, or nothing to compare with
	within
	past
)

// judge compares ours with the limit; best is the better of the others and raw what
// there is without a shim, each nil when it was not measured.
func (l limit) judge(m measure, ours float64, best, raw *float64) verdict {
	var bounds []float64
	if l.most != nil {
		bounds = append(bounds, *l.most)
	}
	if l.times != 0 && best != nil {
		bounds = append(bounds, l.times**best)
	}
	if l.bare != 0 && raw != nil {
		bounds = append(bounds, l.bare**raw)
	}
	v := notBound
	for _, bound := range bounds {
		if ours == bound || (ours < bound) != m.more {
			return within
		}
		v = past
	}
	return v
}
