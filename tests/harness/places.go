package harness

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-shim/holdfast/client"
)

// Places are where a daemon's containers may leave something, beside processes.
type Places struct {
	Sockets []string // paths that sockets may have
	Mounts  string   // a directory with mounts below it
	Cgroups string   // the name that their parents have in every hierarchy
	Dirs    []string // directories, which need not be there
}

// Left lists what is there.
func (p Places) Left() ([]string, error) {
	var left []string
	for _, path := range p.Sockets {
		if _, err := os.Lstat(path); err == nil {
			left = append(left, "socket "+path)
		}
	}
	mounts, err := client.MountsUnder(p.Mounts)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		left = append(left, "mount on "+m)
	}
	groups, err := CgroupsIn(p.Cgroups)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		left = append(left, "cgroup "+g)
	}
	for _, dir := range p.Dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left, nil
}
