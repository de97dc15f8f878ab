package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const dropInName = "containerd-shim-runc-v2"

// node is where the drop-in is installed, and another place that has containerd's
// own shim.
type node struct {
	t          *testing.T
	dir, usr   string
	shim, tool string
}

func newNode(t *testing.T) *node {
	t.Helper()
	top := t.TempDir()
	n := &node{t: t, dir: filepath.Join(top, "a b", "bin"), usr: filepath.Join(top, "usr"), shim: filepath.Join(top, "s"), tool: filepath.Join(top, "t")}
	if err := os.Mkdir(n.usr, 0o755); err != nil {
		t.Fatal(err)
	}
	n.write(n.shim, "ours")
	n.write(n.tool, "tool")
	return n
}

func (n *node) write(path, text string) {
	n.t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+text+"\n"), 0o755); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) run(args ...string) string {
	n.t.Helper()
	cmd := exec.Command("./drop-in", args...)
	cmd.Env = append(os.Environ(), "PATH="+n.dir+":"+n.usr+":/usr/bin:/bin")
	out, err := cmd.CombinedOutput()
	if err != nil {
		n.t.Fatalf("drop-in %q: %v: %s", args, err, out)
	}
	return string(out)
}

func (n *node) install() string { n.t.Helper(); return n.run("install", n.shim, n.tool, n.dir) }
func (n *node) remove() string  { n.t.Helper(); return n.run("remove", n.dir) }

// runs is what the program says that containerd would run.
func (n *node) runs(path string) string {
	n.t.Helper()
	out, err := exec.Command(path).Output()
	if err != nil {
		n.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (n *node) want(path, text string) {
	n.t.Helper()
	if got := n.runs(path); got != text {
		n.t.Errorf("%s is %s, want %s", path, got, text)
	}
}

// files are those in the directory, of which none is half-made.
func (n *node) files(want ...string) {
	n.t.Helper()
	entries, err := os.ReadDir(n.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		n.t.Errorf("%q are there, want %q", got, want)
	}
}

func TestInstallIsUpgradeToo(t *testing.T) {
	n := newNode(t)
	if said := n.install(); !strings.Contains(said, "restart containerd") {
		t.Errorf("it said %q", said)
	}
	n.write(n.shim, "ours, newer")
	if said := n.install(); said != "" {
		t.Errorf("an upgrade said %q", said)
	}
	n.want(filepath.Join(n.dir, dropInName), "ours, newer")
	n.files("containerd-shim-holdfast-v2", dropInName, "holdfast")
}

// As after an installation from containerd's archive.
func TestContainerdsOwnShimThatLiesThereIsKeptAndComesBack(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	n.write(filepath.Join(n.dir, dropInName), "theirs")
	n.install()
	n.install()
	n.want(filepath.Join(n.dir, dropInName), "ours")
	n.want(filepath.Join(n.dir, dropInName+".containerd"), "theirs")
	n.remove()
	n.want(filepath.Join(n.dir, dropInName), "theirs")
	n.files(dropInName)
	if said := n.remove(); said != "" {
		t.Errorf("the second time it said %q", said)
	}
	n.want(filepath.Join(n.dir, dropInName), "theirs")
}

// Containerd remembers the path, and there must be something at its end.
func TestRemovingLeadsThePathToContainerdsOwnShim(t *testing.T) {
	n := newNode(t)
	n.write(filepath.Join(n.usr, dropInName), "theirs")
	n.install()
	n.want(filepath.Join(n.dir, dropInName), "ours")
	n.remove()
	n.want(filepath.Join(n.dir, dropInName), "theirs")
	n.files(dropInName)
	n.install()
	n.want(filepath.Join(n.dir, dropInName), "ours")
	n.remove()
	n.want(filepath.Join(n.dir, dropInName), "theirs")
}

func TestRemovingLeavesNothingWhereThereIsNoOther(t *testing.T) {
	n := newNode(t)
	n.remove() // there is not even the directory
	n.install()
	cmd := exec.Command("/bin/sh", "./drop-in", "remove", n.dir)
	bin := t.TempDir()
	for _, name := range []string{"rm", "readlink", "mv", "ln"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = []string{"PATH=" + n.dir + ":" + bin}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.files()
}

func TestAProgramThatRunsStaysForWhatItLeaves(t *testing.T) {
	n := newNode(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if n.shim, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	n.install()
	shim := exec.Command(filepath.Join(n.dir, "containerd-shim-holdfast-v2"), "1000")
	if err := shim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shim.Process.Kill(); shim.Wait() })
	n.install() // an upgrade: what runs is a deleted file now
	if said := n.remove(); !strings.Contains(said, "1 shims run it") {
		t.Errorf("it said %q", said)
	}
	if _, err := os.Stat(filepath.Join(n.dir, "containerd-shim-holdfast-v2")); err != nil {
		t.Error(err)
	}
	if err := shim.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	shim.Wait()
	n.remove()
	if _, err := os.Stat(filepath.Join(n.dir, "containerd-shim-holdfast-v2")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestDropInRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{{}, {"install"}, {"remove"}, {"install", "a", "b"}, {"update", "a"}} {
		out, err := exec.Command("./drop-in", args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.HasPrefix(string(out), "usage: ") {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}
