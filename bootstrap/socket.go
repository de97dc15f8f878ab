package bootstrap

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultSocketDir is where shims listen when containerd names no other place.
const DefaultSocketDir = "/run/containerd/s"

// maxSocketPath is sun_path without its final NUL, see unix(7).
const maxSocketPath = 107

// backlog is how many connections may wait for the shim to come up or to
// accept; the kernel lowers it to net.core.somaxconn.
const backlog = 4096

// ErrSocketPath says that a socket cannot have the path that it should.
var ErrSocketPath = errors.New("socket path is not possible")

// socketPath is where the shim of a group listens. containerd's own tests and
// tools compute the same name: SocketAddress in runtime/v2/shim of 1.6 and 1.7 and
// CreateSocketAddress in pkg/shim of 2.3.
func socketPath(dir, address, namespace, group string) (string, error) {
	if dir == "" {
		dir = DefaultSocketDir
	}
	if !filepath.IsAbs(dir) || strings.IndexByte(dir, 0) >= 0 {
		return "", fmt.Errorf("%w: the directory %q is not an absolute path", ErrSocketPath, dir)
	}
	sum := sha256.Sum256([]byte(filepath.Join(address, namespace, group)))
	path := filepath.Join(dir, hex.EncodeToString(sum[:]))
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("%w: %s has %d bytes, at most %d fit: the directory of sockets may have at most %d",
			ErrSocketPath, path, len(path), maxSocketPath, maxSocketPath-len("/")-2*sha256.Size)
	}
	return path, nil
}

// fileID tells a file from another one under the same name.
type fileID struct {
	dev, ino uint64
}

func fileAt(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fileID{}, err
	}
	return fileID{dev: uint64(st.Dev), ino: st.Ino}, nil
}

// socket is a listening socket and the file it is bound to. The file's inode
// cannot be given to another file while the socket is open, so the pair says
// for certain whether the path is still ours.
type socket struct {
	fd   int
	path string // "" before bind
	file fileID
}

// newSocket makes a socket that lies nowhere yet.
func newSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	// The kernel takes the file's mode from the socket's own inode.
	if err := unix.Fchmod(fd, 0o600); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make a socket private: %w", err)
	}
	return &socket{fd: fd}, nil
}

// bind makes the socket listen at path, which must not exist. Nobody else can
// connect to it at any moment: it has had its mode before the file exists.
func (s *socket) bind(path string) error {
	if err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return fmt.Errorf("bind %s: %w", path, err)
	}
	file, err := fileAt(path)
	if err == nil {
		err = unix.Listen(s.fd, backlog)
	}
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	s.path, s.file = path, file
	return nil
}

// remove unlinks the file if there is one and it is still ours, then closes the
// socket.
func (s *socket) remove() (err error) {
	if s.path != "" {
		err = removeOwn(s.path, s.file)
	}
	unix.Close(s.fd)
	return err
}

// removeOwn unlinks path if it is still the file own. The caller keeps the socket
// open meanwhile.
func removeOwn(path string, own fileID) error {
	lock, err := lockDir(filepath.Dir(path), time.Second)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err == nil {
		// Even without the lock it is most likely right to go on below: who
		// would have replaced the socket of a living listener?
		defer lock.release()
	}
	if now, err := fileAt(path); err != nil || now != own {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket: %w", err)
	}
	return nil
}

// dirLock is flock(2) on a directory.
type dirLock struct{ fd int }

// release also ends the lock.
func (l dirLock) release() { unix.Close(l.fd) }

// lockDir locks a directory that exists, and waits no longer than wait for
// others to let go of it.
func lockDir(dir string, wait time.Duration) (dirLock, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return dirLock{}, fmt.Errorf("open the directory of sockets %s: %w", dir, err)
	}
	deadline := time.Now().Add(wait)
	for {
		// Not the blocking kind: it could not be given up.
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return dirLock{fd}, nil
		case err == unix.EINTR:
		case err == unix.EWOULDBLOCK && time.Now().Before(deadline):
			time.Sleep(100 * time.Microsecond)
		case err == unix.EWOULDBLOCK:
			unix.Close(fd)
			return dirLock{}, fmt.Errorf("lock the directory of sockets %s: somebody holds it for more than %v", dir, wait)
		default:
			unix.Close(fd)
			return dirLock{}, fmt.Errorf("lock the directory of sockets %s: %w", dir, err)
		}
	}
}

// makeSocketDir makes dir unless it exists, and makes sure that nobody else
// can put a socket there that we would take for ours.
func makeSocketDir(dir string) error {
	st, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		// containerd makes /run/containerd itself with this mode.
		if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
			return fmt.Errorf("make the directory of sockets: %w", err)
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make the directory of sockets: %w", err)
		}
		st, err = os.Stat(dir)
	}
	if err != nil {
		return fmt.Errorf("make the directory of sockets: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrSocketPath, dir)
	}
	if st.Mode().Perm()&0o022 != 0 && st.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("%w: others may write to the directory %s (mode %v)", ErrSocketPath, dir, st.Mode())
	}
	return nil
}
