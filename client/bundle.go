package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Bundle is a container's directory as containerd makes it: config.json, an
// empty rootfs, and, when it has a root for it, a link to a work directory.
type Bundle struct {
	ID        string
	Namespace string
	Path      string // absolute
}

// NewBundle makes <state>/<namespace>/<id> with config in config.json. When root
// is not empty it makes <root>/<namespace>/<id> too, the bundle's work
// directory. It fails with an error that is os.ErrExist if the bundle is there
// already, and leaves nothing behind when it fails.
//
// The modes are containerd's: others may pass through, only the owner may look.
func NewBundle(state, root, namespace, id string, config []byte) (_ *Bundle, err error) {
	b, err := FindBundle(state, namespace, id)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(b.Path), 0o711); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if err := os.Mkdir(b.Path, 0o700); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	made := []string{b.Path}
	defer func() {
		if err != nil {
			for _, p := range made {
				os.RemoveAll(p)
			}
		}
	}()
	if err := os.Mkdir(b.rootfs(), 0o711); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	if root != "" {
		work := filepath.Join(root, namespace, id)
		// What an earlier container of that id left is in the way of nobody.
		if err := os.RemoveAll(work); err != nil {
			return nil, fmt.Errorf("make bundle: %w", err)
		}
		if err := os.MkdirAll(work, 0o711); err != nil {
			return nil, fmt.Errorf("make bundle: %w", err)
		}
		made = append(made, work)
		if err := os.Symlink(work, filepath.Join(b.Path, "work")); err != nil {
			return nil, fmt.Errorf("make bundle: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.Path, "config.json"), config, 0o666); err != nil {
		return nil, fmt.Errorf("make bundle: %w", err)
	}
	return b, nil
}

// FindBundle names the bundle <state>/<namespace>/<id>, which need not exist.
// It fails when a part is not one plain path element.
func FindBundle(state, namespace, id string) (*Bundle, error) {
	for _, part := range []string{namespace, id} {
		if part == "" || part == "." || part == ".." || filepath.Base(part) != part {
			return nil, fmt.Errorf("bundle: %q is not a name", part)
		}
	}
	p, err := filepath.Abs(filepath.Join(state, namespace, id))
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return &Bundle{ID: id, Namespace: namespace, Path: p}, nil
}

// Delete unmounts what is left on the bundle's rootfs and removes the bundle and
// its work directory. A bundle that is gone is no error. The rootfs directory is
// removed as an empty one: should something still be mounted there, Delete fails
// rather than remove the contents of a container's file system.
func (b *Bundle) Delete() error {
	work, workErr := os.Readlink(filepath.Join(b.Path, "work"))
	if err := UnmountAll(b.rootfs()); err != nil {
		return fmt.Errorf("delete bundle %s: %w", b.ID, err)
	}
	if err := os.Remove(b.rootfs()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete bundle %s: %w", b.ID, err)
	}
	err := removeHidden(b.Path)
	if workErr == nil {
		err = errors.Join(err, removeHidden(work))
	}
	if err != nil {
		return fmt.Errorf("delete bundle %s: %w", b.ID, err)
	}
	return nil
}

func (b *Bundle) rootfs() string { return filepath.Join(b.Path, "rootfs") }

// removeHidden renames path to a hidden name and removes it there, so that a
// daemon that starts meanwhile never sees half a bundle.
func removeHidden(path string) error {
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.Rename(path, hidden); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return os.RemoveAll(hidden)
}
