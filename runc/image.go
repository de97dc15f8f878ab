package runc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// inventory is the file of an image without which criu restores nothing.
	inventory = "inventory.img"

	// madeWith lies beside criu's files, which does not know it, and says with
	// what options the image was made: a restore needs most of them again, and
	// containerd's API has no place for them there.
	madeWith = "holdfast.json"

	maxMadeWith = 64 << 10 // bytes
)

// MakeImage makes the directory of an image that is to be written with o, and
// writes down the options. What undo removes is the directory, if it was not there
// before: a part of an image is of no use to anybody.
func MakeImage(o *CheckpointOpts) (undo func() error, err error) {
	undo = func() error { return nil }
	if err := os.MkdirAll(filepath.Dir(o.ImagePath), 0o755); err != nil {
		return nil, fmt.Errorf("make a checkpoint: %w", err)
	}
	switch err := os.Mkdir(o.ImagePath, 0o700); {
	case err == nil:
		undo = func() error { return os.RemoveAll(o.ImagePath) }
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("make a checkpoint: %w", err)
	}
	text, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(filepath.Join(o.ImagePath, madeWith), text, 0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a checkpoint: %w", err), undo())
	}
	return undo, nil
}

// OpenImage returns the options that an image was made with, as far as they are
// known: one that another shim made says nothing of them. What is no image is
// ErrImage.
func OpenImage(dir string) (CheckpointOpts, error) {
	o := CheckpointOpts{}
	if _, err := os.Stat(filepath.Join(dir, inventory)); err != nil {
		return o, fmt.Errorf("%w: %w", ErrImage, err)
	}
	path := filepath.Join(dir, madeWith)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		o.ImagePath = dir
		return o, nil
	}
	if err != nil {
		return o, fmt.Errorf("%w: %w", ErrImage, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return o, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if !st.Mode().IsRegular() || st.Size() > maxMadeWith {
		return o, fmt.Errorf("%w: %s is not a file of at most %d bytes", ErrImage, path, maxMadeWith)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxMadeWith))
	if err != nil {
		return o, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return CheckpointOpts{}, fmt.Errorf("%w: %s: %w", ErrImage, path, err)
	}
	o.ImagePath = dir
	return o, nil
}
