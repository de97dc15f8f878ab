package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestAddressIsFoundInEitherFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadAddress(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an empty bundle: %v", err)
	}
	put := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(address string) {
		t.Helper()
		if got, err := ReadAddress(dir); err != nil || got != address {
			t.Errorf("got %q, %v, want %q", got, err, address)
		}
	}
	put(BootstrapFile, `{"version":3,"address":"unix:///a","protocol":"ttrpc"}`)
	want("unix:///a")
	for _, bad := range []string{"", "{", "{}", `{"address":7}`} {
		put(BootstrapFile, bad)
		if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := WriteAddress(dir, "unix:///b"); err != nil {
		t.Fatal(err)
	}
	want("unix:///b")
	put(AddressFile, " \n")
	if _, err := ReadAddress(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("of an empty file: %v", err)
	}
}
