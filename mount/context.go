package mount

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// param is one parameter of a filesystem, as fsconfig(2) takes it.
type param struct {
	key, value string
	isFlag     bool // key alone
}

// mostValue is how long a value fsconfig(2) takes, without its NUL.
const mostValue = 255

// params parts the data of a filesystem that has no syntax of its own for it.
func (o *options) params() []param {
	var ps []param
	for _, d := range o.data {
		for len(d) > 0 {
			var one string
			one, d = nextOption(d)
			if one != "" {
				ps = append(ps, newParam(one))
			}
		}
	}
	return ps
}

// nextOption cuts the first option off a list. A comma in double quotes belongs
// to the value (SELinux contexts have them), as does one behind a backslash
// (overlay's paths).
func nextOption(list string) (option, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case '\\':
			i++
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				return list[:i], list[i+1:]
			}
		}
	}
	return list, ""
}

func newParam(option string) param {
	key, value, found := strings.Cut(option, "=")
	if !found {
		return param{key: option, isFlag: true}
	}
	// fsconfig takes the bare value; the quotes are mount(2)'s.
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return param{key: key, value: value}
}

// fsContext is a filesystem being configured, the kernel's fs_context.
type fsContext struct {
	fd int
}

// newContext opens a context and configures a superblock in it, which is created
// when there is no error; then the caller closes it. An error says what the kernel
// has to say about it.
func newContext(fstype, source string, flags uintptr, params []param) (*fsContext, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		if errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("fsopen: this kernel has no filesystem %q: %w", fstype, err)
		}
		return nil, call("fsopen", err)
	}
	c := &fsContext{fd: fd}
	if err := c.configure(source, flags, params); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *fsContext) close() { unix.Close(c.fd) }

func (c *fsContext) configure(source string, flags uintptr, params []param) error {
	if source != "" {
		if err := c.set(param{key: "source", value: source}); err != nil {
			return err
		}
	}
	for _, f := range [...]struct {
		flag uintptr
		key  string
	}{
		{unix.MS_RDONLY, "ro"},
		{unix.MS_SYNCHRONOUS, "sync"},
		{unix.MS_DIRSYNC, "dirsync"},
		{unix.MS_MANDLOCK, "mand"},
		{unix.MS_LAZYTIME, "lazytime"},
	} {
		if flags&f.flag != 0 {
			if err := c.set(param{key: f.key, isFlag: true}); err != nil {
				return err
			}
		}
	}
	for _, p := range params {
		if err := c.set(p); err != nil {
			return err
		}
	}
	return c.reason("create superblock", unix.FsconfigCreate(c.fd))
}

func (c *fsContext) set(p param) error {
	if p.isFlag {
		return c.reason("option "+p.key, unix.FsconfigSetFlag(c.fd, p.key))
	}
	if len(p.value) > mostValue {
		return fmt.Errorf("option %s: value of %d bytes: %w", p.key, len(p.value), unix.E2BIG)
	}
	return c.reason("option "+p.key+"="+p.value, unix.FsconfigSetString(c.fd, p.key, p.value))
}

// attach mounts the superblock on what is seen at target in dir, with its ids mapped
// if the options say so.
func (c *fsContext) attach(dir *rootDir, target string, o *options) error {
	mnt, err := unix.Fsmount(c.fd, unix.FSMOUNT_CLOEXEC, attributes(o.flags))
	if err != nil {
		return c.reason("fsmount", err)
	}
	defer unix.Close(mnt)
	if o.idmapped() {
		userns, err := userNamespace(o.uidmap, o.gidmap)
		if err != nil {
			return err
		}
		defer unix.Close(userns)
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}
		if err := unix.MountSetattr(mnt, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return call("map ids with mount_setattr", err)
		}
	}
	return moveMount(mnt, dir, target)
}

// moveMount attaches the detached mount mnt.
func moveMount(mnt int, dir *rootDir, target string) error {
	fd, err := dir.open(target)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return call("move_mount", unix.MoveMount(mnt, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// reason adds to an error what the kernel wrote about it into the context.
func (c *fsContext) reason(what string, err error) error {
	if err == nil {
		return nil
	}
	if why := c.messages(); why != "" {
		return fmt.Errorf("%s: %w (%s)", what, err, why)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// messages reads the context's log. Each read gives one message, marked "e " for
// an error, "w " for a warning, "i " for information; ENODATA is its end.
func (c *fsContext) messages() string {
	var all []string
	buf := make([]byte, 512)
	for {
		n, err := unix.Read(c.fd, buf)
		if err != nil || n <= 0 {
			return strings.Join(all, "; ")
		}
		line := bytes.TrimSpace(buf[:n])
		if len(line) > 2 && line[1] == ' ' {
			line = line[2:]
		}
		all = append(all, string(line))
	}
}

// createByContext makes the filesystem from parameters: for options that do not fit
// in a page, and to have the mount in hand before it is attached.
func (m *Mount) createByContext(dir *rootDir, source string, o *options, params []param) (attached bool, err error) {
	c, err := newContext(m.Type, source, o.flags, params)
	if err != nil {
		return false, err
	}
	defer c.close()
	if err := c.attach(dir, m.Target, o); err != nil {
		return false, err
	}
	return true, nil
}

// explain finds the reason for a mount(2) that failed. That call answers with a
// number and writes the rest into the kernel's log, so the superblock is made once
// more in a context, which can be asked; nothing is mounted by it.
func (m *Mount) explain(err error, source string, o *options) error {
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("this kernel has no filesystem %q: %w", m.Type, err)
	}
	params := o.params()
	if m.Type == "overlay" {
		ov := parseOverlay(o.data)
		if why := ov.unreachable(); why != nil {
			return fmt.Errorf("%w (%v)", err, why)
		}
		if !appendsLayers() {
			return err
		}
		params = ov.params()
	}
	c, why := newContext(m.Type, source, o.flags, params)
	if why == nil {
		c.close()
		return err
	}
	// A context can be refused, or refuse, what mount(2) does not.
	if errors.Is(why, unix.EPERM) || errors.Is(why, unix.ENOSYS) || errors.Is(why, unix.E2BIG) {
		return err
	}
	return fmt.Errorf("%w (%v)", err, why)
}
