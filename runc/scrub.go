package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Scrub removes what a create that was killed half-way leaves in the runtime's
// root and none of its verbs removes: the container's directory without a state
// in it. Left there, it would make the next create of that id fail. What the
// runtime still knows is left alone: see Delete.
func (r *Runtime) Scrub() error {
	if r.Root == "" || r.ID == "" {
		return nil
	}
	dir := filepath.Join(r.Root, r.ID)
	for _, state := range [...]string{"state.json", "status"} { // runc's, crun's
		if _, err := os.Lstat(filepath.Join(dir, state)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err := r.unmountRestored(); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what the OCI runtime has left: %w", err)
	}
	return nil
}

// unmountRestored unmounts the container's rootfs where runc shows it to criu while
// it restores: in the container's directory of the runtime's root. It stays mounted
// there when runc is killed, and who then removes that directory, as runc's own
// delete does, removes every file of the container with it.
func (r *Runtime) unmountRestored() error {
	if r.Root == "" || r.ID == "" {
		return nil
	}
	path := filepath.Join(r.Root, r.ID, "criu-root")
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return nil // nothing is mounted there (any more)
		default:
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
