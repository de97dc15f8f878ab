package runc

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestScrubRemovesOnlyWhatTheRuntimeDoesNotKnow(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		id, file string
		stays    bool
	}{
		{"half", "exec.fifo", false},
		{"runcs", "state.json", true},
		{"cruns", "status", true},
	} {
		dir := filepath.Join(root, c.id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // nothing to do is no error
			if err := (&Runtime{Root: root, ID: c.id}).Scrub(); err != nil {
				t.Errorf("%s: %v", c.id, err)
			}
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) == c.stays {
			t.Errorf("%s: %v, want it to stay: %v", c.id, err, c.stays)
		}
	}
	if err := (&Runtime{Root: root}).Scrub(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("a runtime without a container lost its root: %v", err)
	}
}
