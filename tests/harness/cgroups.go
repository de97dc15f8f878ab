package harness

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CgroupsNamed are the directories of that name at the top of every hierarchy. If
// it is a namespace's, its containers' cgroups are in them, and the runtime leaves
// them behind.
func CgroupsNamed(name string) []string {
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + name)
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
	return append(v2, v1...)
}

// CgroupsIn are the directories below those of that name, without themselves.
func CgroupsIn(name string) ([]string, error) {
	var groups []string
	for _, top := range CgroupsNamed(name) {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && e.IsDir() && path != top {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// Thaw lets what is in a cgroup go on: on v1 a frozen process does not die.
func Thaw(group string) {
	os.WriteFile(filepath.Join(group, "freezer.state"), []byte("THAWED"), 0)
	os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("0"), 0)
}

// killGroup kills what is in one cgroup, frozen or not.
func killGroup(group string) {
	Thaw(group)
	b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return
	}
	// Tests' cgroups have names that nobody else's have.
	name := []byte("/" + filepath.Base(group))
	for field := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		Kill(pid, func(pid int) bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			return err == nil && bytes.Contains(b, name)
		})
	}
}

// RemoveCgroups removes cgroups, of which each has others in it only if they are
// given too. One that is gone is no error; one with a process in it is.
func RemoveCgroups(groups []string) error {
	// The deepest first: a cgroup with another in it cannot be removed.
	groups = slices.Sorted(slices.Values(groups))
	slices.Reverse(groups)
	for _, g := range groups {
		if err := unix.Rmdir(g); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", g, err)
		}
	}
	return nil
}
