package cgroup

import "bytes"

// oomState is what the kernel says of a group and the want of memory: version 1 in
// memory.oom_control, version 2 in memory.events.
type oomState struct {
	kills    uint64 // processes of the group that were killed for want of memory; Linux 4.13 and newer
	disabled bool   // version 1: nothing is killed, what wants more memory is stopped
	under    bool   // version 1: out of memory this moment
}

// stopped says whether processes wait for memory that nobody will free for them.
func (s oomState) stopped() bool { return s.disabled && s.under }

// parseOOM reads memory.oom_control or memory.events. Both are flat keyed files;
// their lines of other meaning, and those that newer kernels may add, whatever they
// look like, are passed over.
func parseOOM(b []byte) oomState {
	var s oomState
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if !ok {
			continue
		}
		n, err := number(value)
		if err != nil {
			continue
		}
		switch string(key) {
		case "oom_kill":
			s.kills = n
		case "oom_kill_disable":
			s.disabled = n != 0
		case "under_oom":
			s.under = n != 0
		}
	}
	return s
}
