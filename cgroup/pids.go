package cgroup

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Pids returns the processes in the group and the groups nested in it, each once,
// in no order that means anything. A group that is gone has none, which is no error.
// It is ErrNotOwn where the list would be of more than the container's processes.
func (g *Group) Pids() ([]int, error) {
	p, err := g.own()
	if err != nil {
		return nil, fmt.Errorf("pids of cgroup: %w", err)
	}
	pids, err := p.pids()
	if err != nil {
		return nil, fmt.Errorf("pids of cgroup %s: %w", p.Path, err)
	}
	return pids, nil
}

// pids lists the processes in this place and below it.
func (p *Place) pids() ([]int, error) {
	seen := make(map[int]struct{})
	var pids []int
	err := walk(p.Dir, func(dir string) error {
		b, err := readFile(dir + "/cgroup.procs")
		// The processes of threaded groups (version 2) are listed in the group above.
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return err
		}
		pids, err = parsePids(b, seen, pids)
		return err
	})
	return pids, err
}

// walk calls f for a group's directory and those of all groups nested in it, each
// before what is in it. Groups that vanish meanwhile are passed over, the
// outermost too.
func walk(dir string, f func(dir string) error) error {
	if err := f(dir); err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	names, err := nested(dir)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	for _, name := range names {
		if err := walk(dir+"/"+name, f); err != nil {
			return err
		}
	}
	return nil
}

// nested lists the names of the groups in a group.
func nested(dir string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return nil, err
	}
	// A directory has a link from above, one from itself and one from each directory
	// in it. Most groups have none, and dozens of files.
	if st.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
