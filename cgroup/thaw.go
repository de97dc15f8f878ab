package cgroup

import "fmt"

// Thaw lets the group's processes go on, and is no error where they were not frozen:
// criu freezes what it writes down, and leaves it so when it is killed. Groups
// nested in it that were frozen by themselves stay so. A group that is gone is no
// error either.
//
// It is ErrNotOwn if the group is the root group or one that the calling process
// is in.
func (g *Group) Thaw() error {
	me, err := memberships(self)
	if err != nil {
		return fmt.Errorf("thaw cgroup: %w", err)
	}
	for _, p := range g.Places {
		file, value := "freezer.state", "THAWED"
		switch {
		case hasWord(p.Controllers, "freezer"):
		case p.Controllers == "" && g.Unified():
			file, value = "cgroup.freeze", "0"
		default:
			continue
		}
		if err := alone(p, me); err != nil {
			return fmt.Errorf("thaw cgroup: %w", err)
		}
		if err := writeFile(p.Dir+"/"+file, value); err != nil && !gone(err) {
			return fmt.Errorf("thaw cgroup %s: %w", p.Path, err)
		}
	}
	return nil
}
