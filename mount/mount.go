package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Mount is one mount as containerd describes it (containerd.types.Mount).
type Mount struct {
	Type    string   // the filesystem, or anything ("bind") when the options say bind
	Source  string   // a device, directory or file; what it means is the type's affair
	Target  string   // where in the root, which must exist; empty for the root itself
	Options []string // as in fstab, one each
}

var (
	// ErrUnsupported is wrapped when a mount asks for what this package, or the
	// kernel it runs on, cannot do.
	ErrUnsupported = errors.New("not supported")

	// ErrOption is wrapped when an option's value makes no sense.
	ErrOption = errors.New("invalid mount option")
)

// All mounts onto the directory root, in order. Root itself is made if it is
// missing and there is something to mount; its parent has to exist.
//
// If one mount fails, those before it are unmounted again, a root that was made
// here is removed, and the error tells which mount it was and why: the system
// call's errno is found by errors.Is, and where the kernel gave a reason in words
// it is in the text.
func All(mounts []Mount, root string) (err error) {
	if len(mounts) == 0 {
		return nil
	}
	// As containerd makes it: others may pass through, not list.
	made := false
	switch err := os.Mkdir(root, 0o711); {
	case err == nil:
		made = true
	case !errors.Is(err, os.ErrExist):
		return fmt.Errorf("mount rootfs: %w", err)
	}
	defer func() {
		if err != nil && made {
			// It is empty or still in use; the first error is the one to tell.
			_ = os.Remove(root)
		}
	}()

	dir, err := openRoot(root)
	if err != nil {
		return fmt.Errorf("mount rootfs: %w", err)
	}
	defer dir.close()

	for i := range mounts {
		attached, err := mounts[i].apply(dir)
		if err == nil {
			continue
		}
		err = fmt.Errorf("mount %d of %d (%s): %w", i+1, len(mounts), mounts[i].describe(), err)
		if attached {
			i++
		}
		return errors.Join(err, undo(mounts[:i], dir))
	}
	return nil
}

// undo unmounts what was mounted, the last one first.
func undo(mounts []Mount, dir *rootDir) error {
	var errs []error
	for i := len(mounts) - 1; i >= 0; i-- {
		m := &mounts[i]
		if m.remounts() {
			continue
		}
		if err := dir.unmountTop(m.Target); err != nil {
			errs = append(errs, fmt.Errorf("undo mount %d (%s): %w", i+1, m.describe(), err))
		}
	}
	return errors.Join(errs...)
}

// describe names a mount in an error. An overlay's options can be longer than a
// page, so they are cut.
func (m *Mount) describe() string {
	const most = 256
	options := strings.Join(m.Options, ",")
	if len(options) > most {
		options = options[:most] + "..."
	}
	return fmt.Sprintf("type %q, source %q, target %q, options %q", m.Type, m.Source, m.Target, options)
}

// remounts says whether m changes a mount that is there rather than making one.
func (m *Mount) remounts() bool {
	for _, o := range m.Options {
		if o == "remount" {
			return true
		}
	}
	return false
}
