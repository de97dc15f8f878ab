package cgroup

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// There need be no systemd for cgroups that lie where it makes them.
func TestAContainerInASystemdSliceIsFoundByItsSpec(t *testing.T) {
	outer := newGroup(t)
	slice := strings.ReplaceAll(outer[1:], "-", "x") // a "-" would make it one slice in another
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	at := "/" + slice + ".slice/" + slice + "-pod.slice/cri-containerd-c1.scope"
	made := 0
	for _, h := range hs {
		if h.is("cpuset") {
			continue // which wants its files filled in at each level
		}
		parent := h.point + "/" + slice + ".slice"
		t.Cleanup(func() {
			eventually(t, "the slice is removed", func() bool { return sweep(parent) == nil })
		})
		if err := os.MkdirAll(h.point+at, 0o755); err != nil {
			t.Fatal(err)
		}
		made++
	}
	if made == 0 {
		t.Fatal("no hierarchy is mounted")
	}
	p := start(t, outer, "sleep 1000")
	pid := []byte(strconv.Itoa(p.Process.Pid))
	for _, h := range hs {
		if h.is("cpuset") {
			continue
		}
		if err := os.WriteFile(h.point+at+"/cgroup.procs", pid, 0); err != nil {
			t.Fatal(err)
		}
	}
	path := slice + "-pod.slice:cri-containerd:c1"

	// What the shim finds while the container runs.
	g := of(t, p.Process.Pid)
	if g.Path() != at {
		t.Errorf("the container's group is %q, want %q", g.Path(), at)
	}
	if pids := pidsOf(t, g); !slices.Equal(pids, []int{p.Process.Pid}) {
		t.Errorf("pids %v, want %d", pids, p.Process.Pid)
	}
	// What `delete` finds when the shim is dead and nobody knows init.
	if err := Clear(t.Context(), "another", 0, path, nobodys); err != nil || unix.Kill(p.Process.Pid, 0) != nil {
		t.Errorf("in the name of another container: %v", err)
	}
	found, err := ofContainer("c1", 0, path)
	if err != nil || found == nil || found.Path() != at {
		t.Fatalf("found %+v, %v", found, err)
	}
	if err := found.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // it is not reaped by Clear
	if err := Clear(t.Context(), "c1", 0, path, nobodys); err != nil {
		t.Error(err)
	}
	for _, h := range hs {
		if _, err := os.Stat(h.point + at); err == nil {
			t.Errorf("%s is left", h.point+at)
		}
	}
}

func TestWhatTheCgroupOfAContainerMayEndIn(t *testing.T) {
	for _, c := range []struct {
		path string
		want []string
	}{
		{"/default/c1", []string{"/default/c1"}},
		{"relative/c1", []string{"/c1"}},
		{"", []string{"/c1", "/runc-c1.scope", "/crun-c1.scope"}},
		{"machine.slice:foo:c1", []string{"/machine.slice/foo-c1.scope", "/machine.slice:foo:c1"}},
		{"strange:foo:c1", []string{"/foo-c1.scope", "/strange:foo:c1"}},
	} {
		if got := tails(c.path, "c1"); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.path, got, c.want)
		}
	}
}

func nobodys(int) bool { return false }
