package mount

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// options is a mount's option list, sorted by whom each one is for.
type options struct {
	flags       uintptr   // MS_ flags of mount(2), none of propagation
	propagation []uintptr // propagation types, one call of mount(2) each, in order
	readOnlyAll bool      // the mount and every one below it, read-only
	loop        bool      // source is a file to attach to a loop device
	directIO    bool      // … which shall bypass the page cache
	uidmap      string    // container:host:length, several parted by commas
	gidmap      string
	data        []string // the filesystem's own
}

// has says whether all of these flags are set.
func (o *options) has(flags uintptr) bool { return o.flags&flags == flags }

// idmapped says whether ids are mapped.
func (o *options) idmapped() bool { return o.uidmap != "" }

// joined is the data as mount(2) takes it.
func (o *options) joined() string { return strings.Join(o.data, ",") }

func parseOptions(list []string) (options, error) {
	var o options
	for _, opt := range list {
		if set, clear, ok := flag(opt); ok {
			o.flags = o.flags&^clear | set
			continue
		}
		if p := propagation(opt); p != 0 {
			o.propagation = append(o.propagation, p)
			continue
		}
		switch {
		case opt == "":
		case opt == "rro":
			o.readOnlyAll = true
		case opt == "loop":
			o.loop = true
		case strings.HasPrefix(opt, "uidmap="):
			o.uidmap = opt[len("uidmap="):]
		case strings.HasPrefix(opt, "gidmap="):
			o.gidmap = opt[len("gidmap="):]
		case strings.HasPrefix(opt, "X-containerd."):
			return o, fmt.Errorf("option %q is for the daemon's mount manager, which did not handle it: %w", opt, ErrUnsupported)
		case strings.HasPrefix(opt, "X-"), strings.HasPrefix(opt, "x-"):
		default:
			o.data = append(o.data, opt)
		}
	}
	if (o.uidmap == "") != (o.gidmap == "") {
		return o, fmt.Errorf("options uidmap and gidmap: one without the other: %w", ErrOption)
	}
	if o.loop {
		rest := o.data[:0]
		for _, d := range o.data {
			if d == "direct-io" {
				o.directIO = true
				continue
			}
			rest = append(rest, d)
		}
		o.data = rest
	}
	return o, nil
}

// flag gives the mount(2) flags an option sets and clears.
func flag(opt string) (set, clear uintptr, ok bool) {
	switch opt {
	case "defaults":
	case "ro":
		set = unix.MS_RDONLY
	case "rw":
		clear = unix.MS_RDONLY
	case "nosuid":
		set = unix.MS_NOSUID
	case "suid":
		clear = unix.MS_NOSUID
	case "nodev":
		set = unix.MS_NODEV
	case "dev":
		clear = unix.MS_NODEV
	case "noexec":
		set = unix.MS_NOEXEC
	case "exec":
		clear = unix.MS_NOEXEC
	case "nosymfollow":
		set = unix.MS_NOSYMFOLLOW
	case "symfollow":
		clear = unix.MS_NOSYMFOLLOW
	case "sync":
		set = unix.MS_SYNCHRONOUS
	case "async":
		clear = unix.MS_SYNCHRONOUS
	case "dirsync":
		set = unix.MS_DIRSYNC
	case "mand":
		set = unix.MS_MANDLOCK
	case "nomand":
		clear = unix.MS_MANDLOCK
	case "noatime":
		set = unix.MS_NOATIME
	case "atime":
		clear = unix.MS_NOATIME
	case "nodiratime":
		set = unix.MS_NODIRATIME
	case "diratime":
		clear = unix.MS_NODIRATIME
	case "relatime":
		set = unix.MS_RELATIME
	case "norelatime":
		clear = unix.MS_RELATIME
	case "strictatime":
		set = unix.MS_STRICTATIME
	case "nostrictatime":
		clear = unix.MS_STRICTATIME
	case "lazytime":
		set = unix.MS_LAZYTIME
	case "nolazytime":
		clear = unix.MS_LAZYTIME
	case "bind":
		set = unix.MS_BIND
	case "rbind":
		set = unix.MS_BIND | unix.MS_REC
	case "remount":
		set = unix.MS_REMOUNT
	default:
		return 0, 0, false
	}
	return set, clear, true
}

// propagation gives the flags of mount(2) that set a propagation type, 0 for any
// other option.
func propagation(opt string) uintptr {
	switch opt {
	case "private":
		return unix.MS_PRIVATE
	case "rprivate":
		return unix.MS_PRIVATE | unix.MS_REC
	case "slave":
		return unix.MS_SLAVE
	case "rslave":
		return unix.MS_SLAVE | unix.MS_REC
	case "shared":
		return unix.MS_SHARED
	case "rshared":
		return unix.MS_SHARED | unix.MS_REC
	case "unbindable":
		return unix.MS_UNBINDABLE
	case "runbindable":
		return unix.MS_UNBINDABLE | unix.MS_REC
	}
	return 0
}

// perMount are the flags that belong to a mount and not to its superblock: those
// that a bind mount can have of its own.
const perMount = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOSYMFOLLOW |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// attributes turns a mount's own flags into fsmount(2)'s.
func attributes(flags uintptr) (attr int) {
	if flags&unix.MS_RDONLY != 0 {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if flags&unix.MS_NOSUID != 0 {
		attr |= unix.MOUNT_ATTR_NOSUID
	}
	if flags&unix.MS_NODEV != 0 {
		attr |= unix.MOUNT_ATTR_NODEV
	}
	if flags&unix.MS_NOEXEC != 0 {
		attr |= unix.MOUNT_ATTR_NOEXEC
	}
	if flags&unix.MS_NOSYMFOLLOW != 0 {
		attr |= unix.MOUNT_ATTR_NOSYMFOLLOW
	}
	if flags&unix.MS_NODIRATIME != 0 {
		attr |= unix.MOUNT_ATTR_NODIRATIME
	}
	// mount(2) lets noatime stand back behind strictatime; relatime is the default.
	switch {
	case flags&unix.MS_STRICTATIME != 0:
		attr |= unix.MOUNT_ATTR_STRICTATIME
	case flags&unix.MS_NOATIME != 0:
		attr |= unix.MOUNT_ATTR_NOATIME
	}
	return attr
}
