package mount

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// createOverlayIDMapped mounts an overlay whose lower layers have their ids mapped
// (Linux 5.19). Overlay itself cannot be idmapped, so its layers are: each is
// cloned, mapped and put on a directory of a scaffold, a small tmpfs on the very
// target, and the overlay is made of those. The overlay keeps clones of its own,
// so the scaffold goes before the overlay takes its place. If this process died
// in between, UnmountAll would still find all of it at the root.
//
// As in containerd the upper directory stays as it is: its snapshotter gave it the
// host's ids.
func (m *Mount) createOverlayIDMapped(dir *rootDir, o *options) (attached bool, err error) {
	userns, err := userNamespace(o.uidmap, o.gidmap)
	if err != nil {
		return false, err
	}
	defer unix.Close(userns)

	mnt, err := m.overScaffold(dir, o, userns)
	if err != nil {
		return false, err
	}
	defer unix.Close(mnt)
	if err := moveMount(mnt, dir, m.Target); err != nil {
		return false, err
	}
	return true, nil
}

// overScaffold returns the overlay as a detached mount. Nothing is left at the
// target.
func (m *Mount) overScaffold(dir *rootDir, o *options, userns int) (mnt int, err error) {
	err = m.on(dir, func(path string) error {
		return call("mount scaffold", unix.Mount("tmpfs", path, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=700"))
	})
	if err != nil {
		return -1, err
	}
	defer func() {
		if uerr := dir.unmountTop(m.Target); uerr != nil && err == nil {
			unix.Close(mnt)
			err = uerr
		}
	}()
	fd, err := dir.open(m.Target)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	scaffold := fdPath(fd)
	if err := unix.Mount("", scaffold, "", unix.MS_PRIVATE, ""); err != nil {
		return -1, call("make scaffold private", err)
	}

	ov := parseOverlay(o.data)
	short := ov
	short.lower = make([]layer, len(ov.lower))
	for i, l := range ov.lower {
		name := strconv.Itoa(i)
		if err := scaffoldLayer(fd, name, l.path(), userns); err != nil {
			return -1, fmt.Errorf("option lowerdir: %w", err)
		}
		short.lower[i] = layer{raw: name, data: l.data}
	}
	data := short.options()
	if err := fits(data); err != nil {
		return -1, err
	}
	err = inDir(scaffold, func() error {
		return call("mount", unix.Mount(m.Source, scaffold, "overlay", o.flags, data))
	})
	if err != nil {
		return -1, err
	}

	mnt, err = m.cloneTop(dir)
	if uerr := dir.unmountTop(m.Target); uerr != nil && err == nil {
		unix.Close(mnt)
		err = uerr
	}
	return mnt, err
}

// cloneTop returns a detached clone of the mount that is topmost at the target.
func (m *Mount) cloneTop(dir *rootDir) (int, error) {
	fd, err := dir.open(m.Target)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	mnt, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	return mnt, call("open_tree", err)
}

// scaffoldLayer mounts the directory at path, ids mapped, on a new directory in
// the scaffold.
func scaffoldLayer(scaffold int, name, path string, userns int) error {
	if err := unix.Mkdirat(scaffold, name, 0o700); err != nil {
		return call("mkdir "+name, err)
	}
	layer := options{flags: unix.MS_RDONLY}
	tree, err := layer.cloneTree(path, userns)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	return call("move_mount", unix.MoveMount(tree, "", scaffold, name, unix.MOVE_MOUNT_F_EMPTY_PATH))
}
