package cgroup

import (
	"fmt"

	"github.com/holdfast-shim/holdfast/proto"
)

// Stats returns what the group and those nested in it have used: a
// *cgroups1.Metrics or, where version 2 has the controllers, a *cgroups2.Metrics.
// What the kernel does not have (a controller that is not on, a file of a newer or
// older kernel) is left out. A group that is gone is ErrGone.
//
// Unlike Pids and Kill it takes any group, the root too: so do containerd's shims.
func (g *Group) Stats() (proto.Message, error) {
	var m proto.Message
	var err error
	if g.Unified() {
		m, err = g.stats2()
	} else {
		m, err = g.stats1()
	}
	if err != nil {
		if gone(err) {
			err = ErrGone
		}
		return nil, fmt.Errorf("stats of cgroup %s: %w", g.Path(), err)
	}
	return m, nil
}
