package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/mount/mountinfo"
)

// UnmountAll unmounts everything that is mounted on path or below it, whoever
// mounted it, the newest first. What is in use is detached: it leaves the tree of
// directories now and the kernel lets go of it with its last user. A path that is
// missing, or has no mount, is no error, so it may be called again and again.
//
// Path itself is not followed if it is a symbolic link. The root directory of the
// process is refused.
func UnmountAll(path string) error {
	if path == "" {
		return nil
	}
	point, err := canonical(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if point == "/" {
		return fmt.Errorf("unmount %s: it is the root directory: %w", path, unix.EINVAL)
	}
	err = unmountEach(func() ([]mountinfo.Entry, error) { return below(point) })
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// unmountTop unmounts what is topmost at target in the root, and everything
// that is mounted on it. Without a mount at that very place it does nothing.
func (d *rootDir) unmountTop(target string) error {
	fd, err := d.open(target)
	if err != nil {
		return err
	}
	point, err := os.Readlink(fdPath(fd))
	if err != nil {
		unix.Close(fd)
		return err
	}
	id, err := mountID(fd)
	// While it is open the mount is in use.
	unix.Close(fd)
	if err != nil {
		return err
	}
	return unmountEach(func() ([]mountinfo.Entry, error) {
		table, err := readTable(nil)
		return onMount(table, id, point), err
	})
}

// unmountEach unmounts what look finds in the table of mounts, until it finds
// nothing.
func unmountEach(look func() ([]mountinfo.Entry, error)) error {
	// One pass does it unless others mount at the same time, or a mount hides another.
	const passes = 64
	var last error
	for range passes {
		entries, err := look()
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return nil
		}
		newestFirst(entries)
		progress := false
		for i := range entries {
			err := unmount(entries[i].Point)
			switch {
			case err == nil:
				progress = true
			case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
				// It went with another, or is hidden: the next look at the table tells.
				if last == nil {
					last = err
				}
			default:
				last = err
			}
		}
		if !progress {
			return last
		}
	}
	return fmt.Errorf("still mounts after %d passes: %w", passes, unix.EBUSY)
}

// unmount unmounts what is topmost at path.
func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil {
		return &os.PathError{Op: "umount", Path: path, Err: err}
	}
	return nil
}

func readTable(keep mountinfo.Keep) ([]mountinfo.Entry, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mountinfo.Parse(f, keep)
}

// below finds the mounts on point and below it. No path leads to those whose
// directory was removed; they go with the mount they are on.
func below(point string) ([]mountinfo.Entry, error) {
	found, err := readTable(func(p, _ []byte) bool {
		return len(p) >= len(point) && string(p[:len(point)]) == point && (len(p) == len(point) || p[len(point)] == '/')
	})
	there := found[:0]
	for _, e := range found {
		if !e.Deleted {
			there = append(there, e)
		}
	}
	return there, err
}

// onMount picks the mount with this id, which must be mounted on point, and those
// that are mounted on it, on them, and so on.
func onMount(table []mountinfo.Entry, id int, point string) []mountinfo.Entry {
	in := make(map[int]bool)
	for _, e := range table {
		if e.ID == id && e.Point == point {
			in[id] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, e := range table {
			if in[e.Parent] && !in[e.ID] {
				in[e.ID] = true
				grown = true
			}
		}
	}
	var found []mountinfo.Entry
	for _, e := range table {
		if in[e.ID] && !e.Deleted {
			found = append(found, e)
		}
	}
	return found
}

// newestFirst sorts entries so that each comes before the mount it is on and, of
// two on one mount, that which is later in the table first: it can hide the other.
func newestFirst(entries []mountinfo.Entry) {
	parent := make(map[int]int, len(entries))
	for _, e := range entries {
		parent[e.ID] = e.Parent
	}
	var levels [][]mountinfo.Entry // by how many of the others each is on
	for i := len(entries) - 1; i >= 0; i-- {
		// A mount that names itself as its parent ends the count, not the program.
		n := 0
		for id, ok := entries[i].Parent, true; n < len(entries); n++ {
			if id, ok = parent[id]; !ok {
				break
			}
		}
		for len(levels) <= n {
			levels = append(levels, nil)
		}
		levels[n] = append(levels[n], entries[i])
	}
	at := 0
	for n := len(levels) - 1; n >= 0; n-- {
		at += copy(entries[at:], levels[n])
	}
}

// canonical is path as the table of mounts has it: absolute, no symbolic link in
// it, but for its last name, which is left alone.
func canonical(path string) (string, error) {
	path = filepath.Clean(path)
	if path == "/" {
		return path, nil
	}
	name := filepath.Base(path)
	if name == "." || name == ".." {
		return "", fmt.Errorf("path ends in %q: %w", name, unix.EINVAL)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	defer unix.Close(fd)
	parent, err := os.Readlink(fdPath(fd))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, name), nil
}

// mountID is the id, as in the table of mounts, of the mount fd was opened in.
func mountID(fd int) (int, error) {
	b, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("no mount id of descriptor %d", fd)
}
