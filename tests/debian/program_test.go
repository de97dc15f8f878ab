package debian

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A tree with a quote in its name, of this machine's own loader and cat.
func TestWrappedProgramUsesTheLoaderOfItsTree(t *testing.T) {
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	loader, err := interpreter(cat)
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(t.TempDir(), "it's a tree")
	program := filepath.Join(tree, "usr/bin/cat")
	place(t, cat, program)
	script := filepath.Join(t.TempDir(), "script")
	if err := Wrap(script, tree, "usr/bin/cat"); err == nil || !strings.Contains(err.Error(), loader) {
		t.Errorf("without a loader: %v", err)
	}
	place(t, loader, filepath.Join(tree, "usr", loader))
	if err := Wrap(script, tree, "usr/bin/cat"); err != nil {
		t.Fatal(err)
	}
	// Libraries that the tree has not come from where the loader looks otherwise.
	out, err := exec.Command(script, "/proc/self/maps").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, mapped := range []string{program, filepath.Join(tree, "usr", loader)} {
		if !strings.Contains(string(out), mapped) {
			t.Errorf("%s is not mapped:\n%s", mapped, out)
		}
	}
	if err := Wrap(script, tree, "usr/bin/none"); err == nil {
		t.Error("a program that is not there was wrapped")
	}
}

// place copies a program.
func place(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}
