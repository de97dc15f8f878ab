package cgroup

import (
	"bytes"
	"fmt"
	"time"
)

// freezeLimit is how long the kernel may take to stop a group's processes, or to
// let them go on, when it has been told to: one that is in the midst of a system
// call is stopped when that ends.
const freezeLimit = time.Second

// BecomesFrozen waits until the group is frozen, or is not, as wanted, for a second
// at most, and says whether it came to be. Not every runtime waits for the kernel.
func (g *Group) BecomesFrozen(want bool) (bool, error) {
	const step = 5 * time.Millisecond
	for range freezeLimit / step {
		if frozen, err := g.Frozen(); frozen == want || err != nil {
			return err == nil, err
		}
		time.Sleep(step)
	}
	frozen, err := g.Frozen()
	return err == nil && frozen == want, err
}

// Frozen says whether the group is frozen, all of it: one that is on its way there
// is not. The error is ErrGone for a group that is gone, and says that it cannot be
// known where there is no freezer or the group is not the container's own.
func (g *Group) Frozen() (bool, error) {
	p, err := g.freezer()
	if err != nil {
		return false, fmt.Errorf("look whether the cgroup is frozen: %w", err)
	}
	file, frozen := p.Dir+"/cgroup.events", []byte("frozen 1")
	if p.Controllers != "" {
		file, frozen = p.Dir+"/freezer.state", []byte("FROZEN")
	}
	b, err := readFile(file)
	if err != nil {
		if gone(err) {
			err = ErrGone
		}
		return false, fmt.Errorf("look whether cgroup %s is frozen: %w", p.Path, err)
	}
	for line := range bytes.Lines(b) {
		if bytes.Equal(bytes.TrimSpace(line), frozen) {
			return true, nil
		}
	}
	return false, nil
}

// freezer is the place where the group can be frozen: version 1's freezer, or
// version 2.
func (g *Group) freezer() (Place, error) {
	p, err := g.own()
	if err == nil && p.Controllers != "" && !hasWord(p.Controllers, "freezer") {
		err = fmt.Errorf("no freezer: %w", ErrNotOwn)
	}
	return p, err
}
