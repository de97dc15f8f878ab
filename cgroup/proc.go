package cgroup

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// membership is one line of /proc/PID/cgroup: where a process is in one hierarchy.
type membership struct {
	controllers string // "cpu,cpuacct", "name=systemd"; empty for version 2
	path        string // "/" is the root of the reader's cgroup namespace
	deleted     bool   // the group was removed; only a zombie can be in it
}

// parseProcCgroup reads /proc/PID/cgroup, as cgroups(7) describes it:
//
//	5:cpuacct,cpu,cpuset:/daemons
//	0::/system.slice/x.service
func parseProcCgroup(b []byte) ([]membership, error) {
	var ms []membership
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		_, rest, ok := strings.Cut(line, ":")
		controllers, path, ok2 := strings.Cut(rest, ":")
		if !ok || !ok2 || !strings.HasPrefix(path, "/") {
			return ms, fmt.Errorf("parse cgroup line %q: not id:controllers:/path", line)
		}
		m := membership{controllers: controllers}
		m.path, m.deleted = strings.CutSuffix(path, " (deleted)")
		ms = append(ms, m)
	}
	return ms, nil
}

// memberships says where a process is; self is the calling one.
func memberships(pid string) ([]membership, error) {
	b, err := readFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return nil, err
	}
	return parseProcCgroup(b)
}

const self = "self"

// in finds the hierarchy with these controllers.
func in(ms []membership, controllers string) (membership, bool) {
	for _, m := range ms {
		if m.controllers == controllers {
			return m, true
		}
	}
	return membership{}, false
}

// within says whether path is the group at top or nested in it.
func within(path, top string) bool {
	return path == top || top == "/" || strings.HasPrefix(path, top+"/")
}

// parsePids adds the pids of a cgroup.procs file to those there are, each once.
// Processes outside the reader's pid namespace show as 0; nobody here can reach
// them.
func parsePids(b []byte, seen map[int]struct{}, pids []int) ([]int, error) {
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte{'\n'})
		pid, err := strconv.Atoi(string(line))
		if err != nil || pid < 0 {
			return pids, fmt.Errorf("parse cgroup.procs line %q: not a pid", line)
		}
		if pid == 0 {
			continue
		}
		if _, dup := seen[pid]; !dup {
			seen[pid] = struct{}{}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// parents are the processes that have children among these and are none of them, each
// once.
func parents(pids []int) []int {
	seen := make(map[int]struct{}, len(pids))
	for _, pid := range pids {
		seen[pid] = struct{}{}
	}
	var above []int
	for _, pid := range pids {
		parent := parentOf(pid)
		if _, known := seen[parent]; parent > 0 && !known {
			seen[parent] = struct{}{}
			above = append(above, parent)
		}
	}
	return above
}

// parentOf is 0 if the process has gone, or its parent is not in the reader's pid
// namespace.
func parentOf(pid int) int {
	b, err := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// After the name in parentheses, which may hold anything: state, parent.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1]))
	return parent
}
