package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Scrub removes what a create that was killed half-way leaves in the runtime's
// root and none of its verbs removes: the container's directory without a state
// in it. Left there, it would make the next create of that id fail. What the
// runtime still knows is left alone: see Delete.
func (r *Runtime) Scrub() error {
	if r.Root == "" || r.ID == "" {
		return nil
	}
	dir := filepath.Join(r.Root, r.ID)
	for _, state := range [...]string{"state.json", "status"} { // runc's, crun's
		if _, err := os.Lstat(filepath.Join(dir, state)); !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what the OCI runtime has left: %w", err)
	}
	return nil
}
