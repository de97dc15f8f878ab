package cgroup

import (
	"fmt"
	"os"
	"strings"

	"github.com/holdfast-shim/holdfast/mount/mountinfo"
)

// hierarchy is a mounted tree of groups.
type hierarchy struct {
	super   string // the superblock's options, which hold a version 1 tree's controllers
	unified bool   // version 2
	root    string // the group that is seen at point, "/" unless part of the tree is mounted
	point   string
}

// hierarchies lists the mounted ones from the table of mounts.
func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := mountinfo.Parse(f, isCgroup)
	if err != nil {
		return nil, err
	}
	return fromTable(entries), nil
}

func isCgroup(_, fstype []byte) bool {
	return string(fstype) == "cgroup" || string(fstype) == "cgroup2"
}

func fromTable(entries []mountinfo.Entry) []hierarchy {
	hs := make([]hierarchy, 0, len(entries))
	for _, e := range entries {
		if e.Deleted {
			continue
		}
		hs = append(hs, hierarchy{super: e.Super, unified: e.FSType == "cgroup2", root: e.Root, point: e.Point})
	}
	return hs
}

// is says whether this is the hierarchy that /proc/PID/cgroup calls controllers.
func (h *hierarchy) is(controllers string) bool {
	if h.unified || controllers == "" {
		return h.unified && controllers == ""
	}
	for c := range strings.SplitSeq(controllers, ",") {
		if !hasWord(h.super, c) {
			return false
		}
	}
	return true
}

func hasWord(list, word string) bool {
	for {
		w, rest, more := strings.Cut(list, ",")
		if w == word {
			return true
		}
		if !more {
			return false
		}
		list = rest
	}
}

// dir is the directory of the group at path, if it can be seen in this mount.
func (h *hierarchy) dir(path string) (string, bool) {
	rest := path
	if h.root != "/" {
		if !within(path, h.root) {
			return "", false
		}
		rest = path[len(h.root):]
	}
	// A path that leaves the cgroup namespace, or a mount of its parent, where the
	// names between are unknown.
	if within(rest, "/..") {
		return "", false
	}
	return strings.TrimSuffix(h.point+rest, "/"), true
}

// place finds the directory of the group a membership names. With several mounts
// of one hierarchy the first in which the group exists is taken.
func place(hs []hierarchy, m membership) (Place, error) {
	p := Place{Controllers: m.controllers, Path: m.path}
	for i := range hs {
		if !hs[i].is(m.controllers) {
			continue
		}
		dir, ok := hs[i].dir(m.path)
		if !ok {
			continue
		}
		if p.Dir == "" {
			p.Dir = dir
		}
		if _, err := os.Lstat(dir); err == nil {
			p.Dir = dir
			break
		}
	}
	if p.Dir == "" {
		return p, fmt.Errorf("cgroup %q of hierarchy %q: not mounted here", m.path, m.controllers)
	}
	return p, nil
}
