package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAddressComesBackAndLeavesNothingElse(t *testing.T) {
	dir := t.TempDir()
	const address = "unix:///run/containerd/s/0123"
	for range 2 {
		if err := WriteAddress(dir, address); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAddress(dir)
		if err != nil || got != address {
			t.Fatalf("ReadAddress = %q, %v", got, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != AddressFile {
		t.Fatalf("the bundle holds %v", entries)
	}
	st, err := os.Stat(filepath.Join(dir, AddressFile))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}

func TestWritersAtTheSameMomentLeaveOneWholeFile(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := WriteAddress(dir, strings.Repeat(string(rune('a'+i)), 4000)); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	got, err := ReadAddress(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got != strings.Repeat(got[:1], 4000) {
		t.Errorf("a mixture: %.40q", got)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the bundle holds %v", entries)
	}
}

func TestAFailedWriteLeavesTheOldFileAndNoRest(t *testing.T) {
	dir := t.TempDir()
	// A directory with something in it cannot be replaced by a file.
	if err := os.MkdirAll(filepath.Join(dir, AddressFile, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteAddress(dir, "unix:///x"); err == nil {
		t.Fatal("no error")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("the bundle holds %v", entries)
	}
	if err := WriteAddress(filepath.Join(dir, "gone"), "unix:///x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a bundle that is gone: %v", err)
	}
}

func TestReadersAreNotHeldOrFloodedByWhatLiesThere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, AddressFile)
	if _, err := ReadAddress(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a fifo: %v", err)
	}
	os.Remove(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a directory: %v", err)
	}
	os.Remove(path)
	if err := os.WriteFile(path, []byte(strings.Repeat("x", small+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("too large: %v", err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("x", small)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadAddress(dir); err != nil || len(got) != small {
		t.Errorf("just small enough: %d bytes, %v", len(got), err)
	}
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("empty: %v", err)
	}
	// proc's files say that they have no size; what counts is what they hold.
	os.Remove(path)
	if err := os.Symlink("/proc/version", path); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadAddress(dir); err != nil || !strings.HasPrefix(got, "Linux") {
		t.Errorf("a file of unknown size: %q, %v", got, err)
	}
}
