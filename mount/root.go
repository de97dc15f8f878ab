package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rootDir is the directory that mounts go to. It holds the directory above it,
// not the root itself: what is to be found at the root's name changes with each
// mount, and a descriptor that was opened before shows what lies beneath.
type rootDir struct {
	parent int    // O_PATH
	name   string // in parent; never followed as a symbolic link
	path   string // for errors
}

func openRoot(path string) (*rootDir, error) {
	path = filepath.Clean(path)
	name := filepath.Base(path)
	if name == "/" || name == "." || name == ".." {
		return nil, fmt.Errorf("%q is no directory to mount on", path)
	}
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	dir := &rootDir{parent: parent, name: name, path: path}
	fd, err := dir.open("")
	if err != nil {
		dir.close()
		return nil, err
	}
	unix.Close(fd)
	return dir, nil
}

func (d *rootDir) close() { unix.Close(d.parent) }

// open returns an O_PATH descriptor, which the caller closes, of what is seen at
// target in the root now: the topmost mount. Symbolic links and ".." in target
// end inside the root whatever they say.
func (d *rootDir) open(target string) (int, error) {
	root, err := unix.Openat(d.parent, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return -1, fmt.Errorf("open %s: a symbolic link or no directory: %w", d.path, err)
		}
		return -1, &os.PathError{Op: "open", Path: d.path, Err: err}
	}
	target = strings.TrimLeft(target, "/")
	if target == "" {
		return root, nil
	}
	defer unix.Close(root)
	fd, err := openIn(root, target)
	if err != nil {
		return -1, fmt.Errorf("open target %q in %s: %w", target, d.path, err)
	}
	return fd, nil
}

// openIn opens a relative path as if root were the root directory.
func openIn(root int, path string) (int, error) {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	// openat2 is of Linux 5.6; older seccomp filters refuse what they do not know.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return walkIn(root, path)
	}
	return fd, err
}

// walkIn is openIn for kernels without openat2. It goes name by name and refuses
// what it cannot resolve safely: symbolic links and "..".
func walkIn(root int, path string) (int, error) {
	fd, err := unix.Openat(root, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, name := range strings.Split(path, "/") {
		if name == "" || name == "." {
			continue
		}
		if name == ".." {
			unix.Close(fd)
			return -1, fmt.Errorf("%q needs openat2: %w", name, ErrUnsupported)
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			unix.Close(fd)
			return -1, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			unix.Close(fd)
			return -1, fmt.Errorf("symbolic link %q needs openat2: %w", name, ErrUnsupported)
		}
	}
	return fd, nil
}

// fdPath is a path that leads to what fd refers to, and nowhere else, for system
// calls that take no descriptor.
func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
