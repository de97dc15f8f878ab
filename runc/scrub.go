package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/mount"
)

// Scrub removes what a runtime that was killed half-way leaves in its root and
// none of its verbs removes: the container's directory without a state in it. Left
// there, it would make the next create of that id fail. What the runtime still
// knows is left alone: see Delete.
func (r *Runtime) Scrub() error {
	dir := r.dir()
	if dir == "" {
		return nil
	}
	for _, state := range [...]string{stateOfRunc, stateOfCrun} {
		if _, err := os.Lstat(filepath.Join(dir, state)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := mount.UnmountAll(dir)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		return fmt.Errorf("remove what the OCI runtime has left: %w", err)
	}
	return nil
}

// unmountRestored unmounts the container's rootfs where runc shows it to criu while
// it restores: in the container's directory of the runtime's root. It stays mounted
// there when runc is killed, and who then removes that directory, as runc's own
// delete does, removes every file of the container with it.
func (r *Runtime) unmountRestored() error {
	dir := r.dir()
	if dir == "" {
		return nil
	}
	return mount.UnmountAll(filepath.Join(dir, "criu-root"))
}

// unmount undoes what keeps a runtime from removing the container's directory. To
// hide its own program from the container (CVE-2019-5736), runc before 1.2 mounts
// it for a moment on a file there, runc.XXXXXX, in every create and exec; one that
// is killed in that moment leaves the mount. It reports whether there was a file
// of that kind.
func (r *Runtime) unmount() (bool, error) {
	dir := r.dir()
	if dir == "" {
		return false, nil
	}
	left, err := filepath.Glob(filepath.Join(dir, "runc.*"))
	if err != nil || len(left) == 0 {
		return false, err
	}
	return true, mount.UnmountAll(dir)
}

// dir is where the runtime keeps the container's state; "" if that is not known.
func (r *Runtime) dir() string {
	if r.Root == "" || r.ID == "" {
		return ""
	}
	return filepath.Join(r.Root, r.ID)
}

// ScrubWork unmounts what criu leaves mounted in its work path when it is killed:
// hierarchies of cgroups, into which whoever removes that directory would reach. Dir
// must be one container's alone; that it is missing is no error.
func ScrubWork(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".criu.") || !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		undo := mount.UnmountAll(path)
		if undo == nil {
			undo = os.Remove(path)
		}
		err = errors.Join(err, undo)
	}
	if err != nil {
		return fmt.Errorf("remove what criu has left: %w", err)
	}
	return nil
}
