package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"
)

// removeLimit bounds the wait for killed processes to end.
const removeLimit = time.Second

// Clear kills all that lives in the cgroup of the container id, waits for its end
// and removes the cgroup, so that the OCI runtime has only to forget. It is for a
// container that nobody looks after any more, or that was never finished: initPid
// is what is known of its init, 0 if nothing, and cgroupsPath its spec's.
//
// A pid is never a reason to kill here: by now it may be another process's. What
// counts is the cgroup, which must be the one that the container's spec names, or
// init's if it names none, and have the container's id in its name: others'
// processes may live in a cgroup that was named by hand. Where there is none such,
// the runtime has to kill; it compares the time at which its init was started.
//
// Two containers may have one id and one cgroup, where a node has two daemons. Others is
// asked of each process that has a child in the cgroup and is not in it itself, whether it
// is such a one's shim: then nothing is touched, and the error is ErrOthers.
func Clear(ctx context.Context, id string, initPid int, cgroupsPath string, others func(pid int) bool) error {
	g, err := ofContainer(id, initPid, cgroupsPath)
	if g == nil || err != nil {
		return err
	}
	pids, err := g.Pids()
	if err != nil {
		return err
	}
	for _, pid := range parents(pids) {
		if others(pid) {
			return fmt.Errorf("clear cgroup %s: its processes are those of process %d: %w", g.Path(), pid, ErrOthers)
		}
	}
	if err := g.Kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	return g.Remove(ctx)
}

// ofContainer finds the cgroup that is certainly this container's; nil if
// none is.
func ofContainer(id string, initPid int, cgroupsPath string) (*Group, error) {
	at, name := groupPath(cgroupsPath, id)
	if !namesContainer(name, id) {
		return nil, nil
	}
	if at != "" {
		me, err := Of(os.Getpid())
		if err != nil {
			return nil, err
		}
		if g := groupAt(me, at); g != nil {
			return g, nil
		}
	}
	if initPid > 0 {
		g, err := Of(initPid)
		if errors.Is(err, ErrGone) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, tail := range tails(cgroupsPath, id) {
			if above := groupAbove(g, tail); above != nil {
				return above, nil
			}
		}
	}
	return nil, nil
}

// tails are what the path of a container's cgroup may end in, the likely first.
func tails(cgroupsPath, id string) []string {
	at, name := groupPath(cgroupsPath, id)
	if at == "" {
		at = "/" + name
	}
	switch {
	case cgroupsPath == "":
		// With systemd runtimes make a unit of it whose name is their own choice.
		return []string{at, "/runc-" + id + ".scope", "/crun-" + id + ".scope"}
	case strings.Contains(cgroupsPath, ":") && !strings.Contains(cgroupsPath, "/"):
		// A runtime that was not told of systemd takes it for the name of a directory.
		return []string{at, "/" + cgroupsPath}
	}
	return []string{at}
}

// groupPath returns where the OCI runtime makes the cgroup for a cgroupsPath, as
// far as it depends on nothing else ("" if it does), and its last part, which
// is always known. The forms are those of runc: a path for its own driver, and
// slice:prefix:name for systemd's.
func groupPath(cgroupsPath, id string) (at, name string) {
	parts := strings.Split(cgroupsPath, ":")
	switch {
	case cgroupsPath == "":
		return "", id
	case len(parts) == 3 && !strings.Contains(cgroupsPath, "/"):
		slice, prefix, unit := parts[0], parts[1], parts[2]
		if !strings.HasSuffix(unit, ".slice") {
			if prefix != "" {
				unit = prefix + "-" + unit
			}
			unit += ".scope"
		}
		if at, ok := slicePath(slice); ok {
			return at + "/" + unit, unit
		}
		return "", unit
	case path.IsAbs(cgroupsPath):
		cgroupsPath = path.Clean(cgroupsPath)
		return cgroupsPath, path.Base(cgroupsPath)
	default:
		return "", path.Base(cgroupsPath)
	}
}

// slicePath is the path of a systemd slice, whose name spells it out: a-b.slice is
// in a.slice. ok is false for what is not the name of a slice.
func slicePath(slice string) (at string, ok bool) {
	if slice == "" {
		slice = "system.slice" // as runc has it, for root
	}
	whole, ok := strings.CutSuffix(slice, ".slice")
	if whole == "-" || !ok {
		return "", ok // -.slice is the root
	}
	for i, c := range whole {
		if c == '-' {
			at += "/" + whole[:i] + ".slice"
		}
	}
	return at + "/" + slice, true
}

// namesContainer reports whether a cgroup's name shows that it was made for this
// container. name comes from the container's own spec, so an id that ends like
// another one does no harm.
func namesContainer(name, id string) bool {
	name = strings.TrimSuffix(name, ".scope")
	return name == id || strings.HasSuffix(name, "-"+id) || strings.HasSuffix(name, ":"+id)
}

// groupAt returns the group at a path in those hierarchies, of the ones that me is
// in, that have it; nil if none has.
func groupAt(me *Group, at string) *Group {
	g := new(Group)
	for _, p := range me.Places {
		point, ok := strings.CutSuffix(p.Dir, strings.TrimSuffix(p.Path, "/"))
		if !ok {
			continue // only part of this hierarchy can be seen
		}
		dir := point + at
		if _, err := os.Lstat(dir); err == nil {
			g.Places = append(g.Places, Place{Controllers: p.Controllers, Path: at, Dir: dir})
		}
	}
	if len(g.Places) == 0 {
		return nil
	}
	return g
}

// groupAbove returns the group whose path ends in tail that g is, or is in: an init
// may have made groups of its own. Hierarchies in which there is none such are left
// out; nil if all are.
func groupAbove(g *Group, tail string) *Group {
	above := new(Group)
	for _, p := range g.Places {
		i := strings.Index(p.Path+"/", tail+"/")
		if i < 0 {
			continue
		}
		rest := p.Path[i+len(tail):]
		if dir, ok := strings.CutSuffix(p.Dir, rest); ok {
			above.Places = append(above.Places, Place{Controllers: p.Controllers, Path: p.Path[:i+len(tail)], Dir: dir})
		}
	}
	if len(above.Places) == 0 {
		return nil
	}
	return above
}
