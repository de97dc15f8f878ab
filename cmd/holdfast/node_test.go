package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// process makes a directory of /proc for a process of that name, in cwd, whose
// root is another one's if it is said.
func process(t *testing.T, proc, pid, name, cwd, root string) {
	t.Helper()
	dir := filepath.Join(proc, pid)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/comm", []byte(name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"cwd": cwd, "root": root} {
		if err := os.Symlink(to, dir+"/"+link); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBundlesAreWhereShimsWork(t *testing.T) {
	proc, node, elsewhere := t.TempDir(), t.TempDir(), t.TempDir()
	for _, dir := range []string{node + "/a/ns/1", node + "/b/ns/2", node + "/c/ns/3", node + "/d", elsewhere + node + "/c"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	process(t, proc, "10", "containerd-shim", node+"/a/ns/1", "/")
	process(t, proc, "11", "sleep", node+"/b/ns/2", "/")
	process(t, proc, "12", "containerd-shim", node+"/c/ns/3", elsewhere) // in a container itself
	process(t, proc, "13", "containerd-shim", node+"/d/ns/4 (deleted)", "/")
	process(t, proc, "14", "containerd-shim", node+"/gone/ns/5", "/")
	process(t, proc, "self", "containerd-shim", node+"/b/ns/2", "/")
	if err := os.Mkdir(proc+"/15", 0o755); err != nil { // has ended
		t.Fatal(err)
	}
	got, err := statesOfShims(proc)
	slices.Sort(got)
	if want := []string{node + "/a", node + "/d"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestADirectoryIsLookedIntoOnce(t *testing.T) {
	dir := t.TempDir()
	a, link := filepath.Join(dir, "a"), filepath.Join(dir, "link")
	if err := os.Mkdir(a, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	if got := distinct([]string{link, a, "", a, dir + "/none"}); !slices.Equal(got, []string{a}) {
		t.Errorf("%q", got)
	}
}

// A pod's containers have one shim, which must not be counted twice.
func TestShimsAreSummedByTheirKind(t *testing.T) {
	shim := func(pid int, program string) *shimSight {
		return &shimSight{Pid: pid, Program: program, AnonymousBytes: 1_000_000}
	}
	got := sums([]sight{
		{Shim: shim(1, "/a/ours")}, {Shim: shim(1, "/a/ours")}, {Shim: shim(2, "/b/ours (deleted)")},
		{Shim: shim(3, "/a/theirs")}, {},
	})
	want := []string{
		"",
		"2 shims of ours with 3 containers: 2.00 MB, 1.00 MB each",
		"1 shim of theirs with 1 container: 1.00 MB, 1.00 MB each",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := sums(nil); len(got) != 0 {
		t.Errorf("of none: %q", got)
	}
}
