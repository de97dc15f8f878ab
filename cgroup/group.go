package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrGone says that the group, or the process asked for, does not exist any more.
	ErrGone = errors.New("cgroup is gone")

	// ErrOthers says that what is in a group is another container's of the same id.
	ErrOthers = errors.New("belongs to a container of another daemon")

	// ErrNotOwn says that a group is not a container's own: it is the root group, or
	// the calling process is in it, or no hierarchy is mounted that has it.
	ErrNotOwn = errors.New("not a cgroup of its own")
)

// Group is where a container is: a place in each hierarchy, by version 1 one for
// each set of controllers, by version 2 a single one, in hybrid mode both. It is
// plain data; the kernel's files are looked at with each call.
type Group struct {
	Places []Place `json:"places"`
}

// Place is a group in one hierarchy.
type Place struct {
	Controllers string `json:"controllers,omitempty"` // as in /proc/PID/cgroup: "cpu,cpuacct", "name=systemd"; empty for version 2
	Path        string `json:"path"`                  // the group's name in the hierarchy, as in /proc/PID/cgroup
	Dir         string `json:"dir"`                   // its directory here
}

// Of returns the group a process is in. The process must be alive: version 1 shows
// an ended one in the root group. A process that does not exist is ErrGone.
func Of(pid int) (*Group, error) {
	ms, err := memberships(strconv.Itoa(pid))
	if err != nil {
		if gone(err) {
			return nil, fmt.Errorf("cgroup of process %d: %w", pid, ErrGone)
		}
		return nil, fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	hs, err := hierarchies()
	if err != nil {
		return nil, fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	g, deleted := find(hs, ms, unifiedMachine())
	if len(g.Places) == 0 {
		if deleted {
			return nil, fmt.Errorf("cgroup of process %d: %w", pid, ErrGone)
		}
		return nil, fmt.Errorf("cgroup of process %d: no hierarchy is mounted: %w", pid, ErrNotOwn)
	}
	return g, nil
}

// find returns the group that has these members, and whether it was removed from a
// hierarchy. On a unified machine it is only looked for in version 2.
func find(hs []hierarchy, ms []membership, unified bool) (g *Group, deleted bool) {
	g = new(Group)
	for _, m := range ms {
		if unified && m.controllers != "" {
			continue
		}
		if m.deleted {
			deleted = true
			continue
		}
		// A hierarchy that is not mounted where we are is one we can do without.
		if p, err := place(hs, m); err == nil {
			g.Places = append(g.Places, p)
		}
	}
	return g, deleted
}

// unifiedMachine is the rule of the OCI runtimes and of containerd: what is mounted in
// this place says which version they use. A hierarchy of version 1 that somebody has
// mounted besides (net_cls for a VPN, freezer for a batch system) is not looked at by
// them, and containers are in its root.
func unifiedMachine() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// Unified says whether version 2 has the group's controllers. In hybrid mode they
// are version 1's.
func (g *Group) Unified() bool {
	for _, p := range g.Places {
		if p.Controllers != "" && !strings.HasPrefix(p.Controllers, "name=") {
			return false
		}
	}
	return len(g.Places) > 0
}

// Path is the group's name in the hierarchy that Pids and Kill look at, as in
// /proc/PID/cgroup; where the group is not a container's own, the name in the first.
func (g *Group) Path() string {
	if p, err := g.own(); err == nil {
		return p.Path
	}
	if len(g.Places) > 0 {
		return g.Places[0].Path
	}
	return ""
}

// with finds the place that has a controller; version 2's is called "".
func (g *Group) with(controller string) (Place, bool) {
	for _, p := range g.Places {
		if controller == "" && p.Controllers == "" || controller != "" && hasWord(p.Controllers, controller) {
			return p, true
		}
	}
	return Place{}, false
}

// usual are version 1's controllers that every OCI runtime makes a group for. In
// another hierarchy (a named one, or version 2's in hybrid mode) the container may
// have stayed where the shim or the daemon was when it was created. The freezer is
// first, for Kill may need it.
func usual() [7]string {
	return [...]string{"freezer", "devices", "pids", "memory", "cpu", "cpuset", "blkio"}
}

// madeByRuntime says whether a place is sure to be the container's and not where it
// was left.
func madeByRuntime(p Place) bool {
	for _, controller := range usual() {
		if hasWord(p.Controllers, controller) {
			return true
		}
	}
	return false
}

// own finds a place in which the group is the container's alone.
func (g *Group) own() (Place, error) {
	me, err := memberships(self)
	if err != nil {
		return Place{}, err
	}
	if g.Unified() {
		p, ok := g.with("")
		if !ok {
			return Place{}, ErrNotOwn
		}
		return p, alone(p, me)
	}
	err = fmt.Errorf("none of version 1's usual controllers: %w", ErrNotOwn)
	for _, controller := range usual() {
		p, ok := g.with(controller)
		if !ok {
			continue
		}
		if err = alone(p, me); err == nil {
			return p, nil
		}
	}
	return Place{}, err
}

// alone is nil if a group is neither the root nor one that the calling process,
// which is at me, is in.
func alone(p Place, me []membership) error {
	if p.Path == "/" {
		return fmt.Errorf("%q is the root cgroup of %s: %w", p.Path, p.name(), ErrNotOwn)
	}
	if m, ok := in(me, p.Controllers); ok && within(m.path, p.Path) {
		return fmt.Errorf("this process is in %q of %s too: %w", p.Path, p.name(), ErrNotOwn)
	}
	return nil
}

// name calls the hierarchy by a name.
func (p *Place) name() string {
	if p.Controllers == "" {
		return "the unified hierarchy"
	}
	return "hierarchy " + p.Controllers
}

// gone says whether an error is the kernel's for a group or process that went away:
// no such file at open, ENODEV and ESRCH at read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}
