package mount

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// apply mounts m in dir. It says whether something is mounted now, which can be
// so even when it failed.
func (m *Mount) apply(dir *rootDir) (attached bool, err error) {
	if strings.HasPrefix(m.Type, "fuse.") || strings.HasPrefix(m.Type, "fuse3.") {
		return false, fmt.Errorf("type %q needs a mount helper: %w", m.Type, ErrUnsupported)
	}
	if strings.Contains(m.Type, "/") {
		// Such as "format/overlay" and "mkdir/overlay".
		return false, fmt.Errorf("type %q is for the daemon's mount manager: %w", m.Type, ErrUnsupported)
	}
	o, err := parseOptions(m.Options)
	if err != nil {
		return false, err
	}
	switch {
	case o.has(unix.MS_REMOUNT):
		err = m.remount(dir, &o)
	case o.has(unix.MS_BIND):
		attached, err = m.bind(dir, &o)
	default:
		attached, err = m.create(dir, &o)
	}
	if err != nil {
		return attached, err
	}
	return attached, m.propagate(dir, &o)
}

// on runs f with a path that leads to what is seen at m's target now.
func (m *Mount) on(dir *rootDir, f func(path string) error) error {
	fd, err := dir.open(m.Target)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fdPath(fd))
}

// remount changes the flags and data of what is mounted at the target.
func (m *Mount) remount(dir *rootDir, o *options) error {
	data := o.joined()
	if err := fits(data); err != nil {
		return err
	}
	return m.on(dir, func(path string) error {
		return call("remount", unix.Mount(m.Source, path, m.Type, o.flags, data))
	})
}

// propagate sets the propagation types, which mount(2) takes one at a time.
func (m *Mount) propagate(dir *rootDir, o *options) error {
	for _, p := range o.propagation {
		err := m.on(dir, func(path string) error {
			return call("set propagation", unix.Mount("", path, "", p, ""))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// create mounts a filesystem: all that is not there yet.
func (m *Mount) create(dir *rootDir, o *options) (attached bool, err error) {
	if o.readOnlyAll {
		return false, fmt.Errorf("option rro with anything but a bind mount: %w", ErrOption)
	}
	source := m.Source
	if o.loop {
		dev, err := attachLoop(m.Source, o.has(unix.MS_RDONLY), o.directIO)
		if err != nil {
			return false, err
		}
		// The mount keeps the device from here on; without one it goes with this close.
		defer dev.Close()
		source = dev.Name()
	}
	if m.Type == "overlay" {
		return m.createOverlay(dir, o)
	}
	data := o.joined()
	if o.idmapped() || fits(data) != nil {
		return m.createByContext(dir, source, o, o.params())
	}
	return m.createByMount(dir, source, o, data)
}

// createByMount is mount(2), for options that fit in a page.
func (m *Mount) createByMount(dir *rootDir, source string, o *options, data string) (attached bool, err error) {
	err = m.on(dir, func(path string) error {
		return unix.Mount(source, path, m.Type, o.flags, data)
	})
	if err == nil {
		return true, nil
	}
	return false, m.explain(call("mount", err), source, o)
}

// fits says whether data fits in the page that mount(2) copies, with its NUL.
func fits(data string) error {
	if len(data) < os.Getpagesize() {
		return nil
	}
	return fmt.Errorf("options are %d bytes long: %w", len(data), unix.E2BIG)
}

// call names the system call that failed; nil stays nil.
func call(name string, err error) error {
	if err == nil {
		return nil
	}
	return os.NewSyscallError(name, err)
}
