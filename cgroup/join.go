package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Join moves a process into the group at path: in every hierarchy that has such a
// group. It makes none: if no hierarchy has it, the error is fs.ErrNotExist. Threads
// and children that it has already stay together with it and where they are,
// respectively.
func Join(path string, pid int) error {
	if pid <= 0 {
		return fmt.Errorf("join cgroup %s: %d is no pid", path, pid)
	}
	hs, err := hierarchies()
	if err != nil {
		return fmt.Errorf("join cgroup %s: %w", path, err)
	}
	// Nothing in path leads out of a hierarchy.
	clean := filepath.Join("/", path)
	var errs []error
	found := false
	for _, h := range hs {
		procs := h.point + clean + "/cgroup.procs"
		if _, err := os.Lstat(procs); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		found = true
		if err := writeFile(procs, strconv.Itoa(pid)); err != nil {
			errs = append(errs, err)
		}
	}
	if !found {
		errs = append(errs, fs.ErrNotExist)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("join cgroup %s: process %d: %w", path, pid, err)
	}
	return nil
}
