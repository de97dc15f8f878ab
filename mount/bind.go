package mount

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// bind makes an existing file or directory visible at the target. It says whether
// something is mounted now, which can be so even when it failed.
func (m *Mount) bind(dir *rootDir, o *options) (attached bool, err error) {
	if o.loop {
		return false, fmt.Errorf("option loop with a bind mount: %w", ErrOption)
	}
	userns := -1
	if o.idmapped() {
		if userns, err = userNamespace(o.uidmap, o.gidmap); err != nil {
			return false, err
		}
		defer unix.Close(userns)
	}
	tree, err := o.cloneTree(m.Source, userns)
	if errors.Is(err, unix.ENOSYS) {
		if o.idmapped() {
			return false, fmt.Errorf("options uidmap and gidmap need Linux 5.12: %w", ErrUnsupported)
		}
		return m.bindByMount(dir, o)
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(tree)
	if err := moveMount(tree, dir, m.Target); err != nil {
		return false, err
	}
	return true, nil
}

// cloneTree makes a detached mount of source, and of what is mounted below it when
// the options say rbind, with all its flags in place. A userns other than -1 maps
// its ids. The error is ENOSYS where the kernel lacks the calls for it, which came
// with Linux 5.2 (open_tree) and 5.12 (mount_setattr).
func (o *options) cloneTree(source string, userns int) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if o.has(unix.MS_REC) {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return -1, call("open_tree "+source, err)
	}
	if err := o.setTree(tree, userns); err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

func (o *options) setTree(tree, userns int) error {
	all := unix.MountAttr{}
	if len(o.propagation) == 0 {
		// A clone propagates to where its source does. Unmounting what lies below it
		// would unmount the host's own mounts below the source. Once attached it
		// propagates as the mount it is attached to says, and not to the source.
		all.Propagation = unix.MS_PRIVATE
	}
	if userns >= 0 {
		all.Attr_set |= unix.MOUNT_ATTR_IDMAP
		all.Userns_fd = uint64(userns)
	}
	if o.readOnlyAll {
		all.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &all); err != nil {
		if userns >= 0 {
			return call("map ids with mount_setattr", err)
		}
		return call("mount_setattr", err)
	}
	flags := o.flags & perMount
	if flags == 0 {
		return nil
	}
	// As with mount(2)'s remount, flags that are not asked for are cleared, those for
	// access times only when others are asked for. In a user namespace a mount that
	// came from the one above has flags that are locked (EPERM): then all are kept.
	const clearable = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW
	own := unix.MountAttr{Attr_set: uint64(attributes(flags))}
	if flags&(unix.MS_NOATIME|unix.MS_RELATIME|unix.MS_STRICTATIME) != 0 {
		own.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	kept := own
	own.Attr_clr |= clearable &^ own.Attr_set
	err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &own)
	if errors.Is(err, unix.EPERM) {
		err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &kept)
	}
	return call("mount_setattr", err)
}

// bindByMount is bind for kernels that cannot make a mount before it is attached.
func (m *Mount) bindByMount(dir *rootDir, o *options) (attached bool, err error) {
	if o.readOnlyAll {
		return false, fmt.Errorf("option rro needs Linux 5.12: %w", ErrUnsupported)
	}
	bind := o.flags & (unix.MS_BIND | unix.MS_REC)
	err = m.on(dir, func(path string) error {
		return call("bind", unix.Mount(m.Source, path, "", bind, ""))
	})
	if err != nil {
		return false, err
	}
	if bind&unix.MS_REC != 0 && len(o.propagation) == 0 {
		// See setTree. What is mounted under the source later shows up here as well,
		// but nothing that is done here reaches the source.
		err = m.on(dir, func(path string) error {
			return call("set propagation", unix.Mount("", path, "", unix.MS_SLAVE|unix.MS_REC, ""))
		})
		if err != nil {
			return true, err
		}
	}
	// The kernel takes a bind mount's own flags only in a second step.
	if flags := o.flags & perMount; flags != 0 {
		err = m.on(dir, func(path string) error { return remountBind(path, flags) })
	}
	return true, err
}

// remountBind gives the bind mount at path these flags; of those that are locked
// see setTree.
func remountBind(path string, flags uintptr) error {
	err := unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|flags, "")
	if !errors.Is(err, unix.EPERM) {
		return call("remount", err)
	}
	var st unix.Statfs_t
	if serr := unix.Statfs(path, &st); serr != nil {
		return call("remount", err)
	}
	kept := lockable(int64(st.Flags))
	if flags&(unix.MS_NOATIME|unix.MS_STRICTATIME) != 0 {
		kept &^= unix.MS_RELATIME
	}
	return call("remount", unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|flags|kept, ""))
}

// lockable turns statfs(2)'s flags into the mount flags that a user namespace can
// have inherited locked.
func lockable(st int64) (flags uintptr) {
	for _, f := range [...]struct {
		st int64
		ms uintptr
	}{
		{unix.ST_RDONLY, unix.MS_RDONLY},
		{unix.ST_NOSUID, unix.MS_NOSUID},
		{unix.ST_NODEV, unix.MS_NODEV},
		{unix.ST_NOEXEC, unix.MS_NOEXEC},
		{unix.ST_NOATIME, unix.MS_NOATIME},
		{unix.ST_NODIRATIME, unix.MS_NODIRATIME},
		{unix.ST_RELATIME, unix.MS_RELATIME},
	} {
		if st&f.st != 0 {
			flags |= f.ms
		}
	}
	return flags
}
