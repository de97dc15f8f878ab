package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The reader is another's: busybox's cpio.
func TestAnArchiveIsUnpackedAsItWas(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, d := range []string{from, filepath.Join(from, "a/b"), to} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// Sizes around the padding's four bytes.
	files := map[string]string{"0": "", "a/1": "x", "a/b/3": "xyz", "four": "wxyz", "five5": strings.Repeat("5", 5), "big": strings.Repeat("big", 1<<18)}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(from, name), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(from, "a/1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../big", filepath.Join(from, "a/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(from, "a/b"), 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}

	var b bytes.Buffer
	if err := archive(&b, from); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("busybox", "cpio", "-i", "-d", "-m")
	cmd.Dir, cmd.Stdin = to, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	if target, err := os.Readlink(filepath.Join(to, "a/link")); err != nil || target != "../big" {
		t.Errorf("link to %q, %v", target, err)
	}
	for name, want := range map[string]os.FileMode{
		"a/1": 0o755, "five5": 0o640, "a": 0o755 | os.ModeDir, "a/b": 0o777 | os.ModeDir | os.ModeSticky,
	} {
		info, err := os.Stat(filepath.Join(to, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), want)
		}
	}
}

func TestAnArchiveRefusesWhatItHasNoPlaceFor(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("busybox", "mkfifo", filepath.Join(dir, "fifo")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := archive(&bytes.Buffer{}, dir); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("error %v", err)
	}
}
