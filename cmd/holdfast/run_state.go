package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

// state is the directory that holds all there is of one container: <root>/<id>.
type state struct {
	root, dir string
}

// newState makes the directory. It fails when the id is taken.
func newState(root, id string) (*state, error) {
	s := &state{root: root, dir: filepath.Join(root, id)}
	// Another run's remove may take the empty root away between the two steps.
	for {
		if err := os.MkdirAll(root, 0o711); err != nil {
			return nil, fmt.Errorf("make state: %w", err)
		}
		err := os.Mkdir(s.dir, 0o700)
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("id %s is taken: %s is there", id, s.dir)
		}
		if err == nil {
			return s, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("make state: %w", err)
		}
	}
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// socketPathMax is how long a socket's path may be: sun_path less its zero byte.
const socketPathMax = len(unix.RawSockaddrUnix{}.Path) - 1

// eventsPath is where the shim's events go; it fails when the root's path is too
// long for sockets.
func (s *state) eventsPath() (string, error) {
	p := s.path("events.sock")
	if len(p) > socketPathMax {
		return "", fmt.Errorf("state directory %s: too long for a socket in it: at most %d bytes", s.dir, socketPathMax-len("/events.sock"))
	}
	return p, nil
}

// socketDir is where the shim is to put its socket, or empty when that path
// would be too long: then it is the shim's own choice.
func (s *state) socketDir() string {
	const hash = 64
	if p := s.path("s"); len(p)+len("/")+hash <= socketPathMax {
		return p
	}
	return ""
}

// remove removes the directory and what is in it. Whatever is still mounted in
// it is unmounted first: removing must not reach into another file system.
func (s *state) remove() error {
	if err := client.UnmountAll(s.dir); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	if left, err := client.MountsUnder(s.dir); err != nil || len(left) > 0 {
		return fmt.Errorf("remove state: still mounted: %q, %w", left, err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return fmt.Errorf("remove state: %w", err)
	}
	// Other containers may be there.
	os.Remove(s.root)
	return nil
}
