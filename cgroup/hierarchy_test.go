package cgroup

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/mount/mountinfo"
)

func TestGroupsAreFoundInWhateverIsMounted(t *testing.T) {
	const (
		v2     = "30 23 0:26 / /nowhere/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
		cpu    = "31 30 0:29 / /nowhere/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
		set    = "32 30 0:30 / /nowhere/cgroup/cpuset rw - cgroup cgroup rw,cpuset,clone_children\n"
		named  = "33 30 0:31 / /nowhere/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
		part   = "34 30 0:32 /docker/abc /nowhere/cgroup/memory rw - cgroup cgroup rw,memory\n"
		above  = "35 30 0:33 /.. /nowhere/above rw - cgroup2 cgroup2 rw\n"
		tmp    = "29 23 0:25 / /nowhere/cgroup rw - tmpfs cgroup rw,mode=755\n"
		buried = "36 30 0:34 / /nowhere/gone//deleted rw - cgroup cgroup rw,pids\n"
	)
	for _, c := range []struct {
		name, table string
		m           membership
		dir         string // empty when it cannot be found
	}{
		{"version 2", v2, membership{path: "/a/b"}, "/nowhere/cgroup/a/b"},
		{"version 2's root", v2, membership{path: "/"}, "/nowhere/cgroup"},
		{"controllers mounted together", tmp + cpu, membership{controllers: "cpuacct,cpu", path: "/a"}, "/nowhere/cgroup/cpu,cpuacct/a"},
		{"cpu is not cpuset", set, membership{controllers: "cpu", path: "/a"}, ""},
		{"named", tmp + cpu + named, membership{controllers: "name=systemd", path: "/a"}, "/nowhere/cgroup/systemd/a"},
		{"not mounted", tmp + cpu, membership{controllers: "pids", path: "/a"}, ""},
		{"no version 2", tmp + cpu, membership{path: "/a"}, ""},
		{"part of the tree, group in it", part, membership{controllers: "memory", path: "/docker/abc/x"}, "/nowhere/cgroup/memory/x"},
		{"part of the tree, that very group", part, membership{controllers: "memory", path: "/docker/abc"}, "/nowhere/cgroup/memory"},
		{"part of the tree, group elsewhere", part, membership{controllers: "memory", path: "/docker/abcdef"}, ""},
		{"group outside the cgroup namespace", v2, membership{path: "/../sibling"}, ""},
		{"group outside, tree mounted from above", above, membership{path: "/../sibling"}, "/nowhere/above/sibling"},
		{"tree mounted from above, group inside", above, membership{path: "/a"}, ""},
		{"a name of dots", v2, membership{path: "/..x"}, "/nowhere/cgroup/..x"},
		{"mount point removed", buried, membership{controllers: "pids", path: "/a"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries, err := mountinfo.Parse(strings.NewReader(c.table), isCgroup)
			if err != nil {
				t.Fatal(err)
			}
			p, err := place(fromTable(entries), c.m)
			if (err == nil) != (c.dir != "") || p.Dir != c.dir {
				t.Errorf("got %q, %v, want %q", p.Dir, err, c.dir)
			}
		})
	}
}

// A VPN mounts net_cls for itself on a machine of version 2, a batch system freezer.
func TestAHierarchyThatIsMountedBesidesVersion2IsNotAskedAboutContainers(t *testing.T) {
	const table = "30 23 0:26 / /nowhere/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n" +
		"31 23 0:29 / /nowhere/net_cls rw - cgroup cgroup rw,net_cls\n" +
		"32 23 0:30 / /nowhere/freezer rw - cgroup cgroup rw,freezer\n"
	entries, err := mountinfo.Parse(strings.NewReader(table), isCgroup)
	if err != nil {
		t.Fatal(err)
	}
	ms, err := parseProcCgroup([]byte("2:freezer:/\n1:net_cls:/\n0::/kubepods/a\n"))
	if err != nil {
		t.Fatal(err)
	}
	g, _ := find(fromTable(entries), ms, true)
	if !g.Unified() {
		t.Errorf("statistics would be those of %+v", g.Places)
	}
	if p, err := g.own(); err != nil || p.Dir != "/nowhere/cgroup/kubepods/a" {
		t.Errorf("would be killed in %+v, %v", p, err)
	}
	if p, file := g.memory(); p.Path != "/kubepods/a" || file != events2 {
		t.Errorf("its memory is counted in %s of %+v", file, p)
	}
}

func TestGroupsThatAreNotTheContainersAloneAreRefused(t *testing.T) {
	me := []membership{{controllers: "pids", path: "/system.slice/shim"}, {path: "/system.slice/shim/inner"}}
	for _, c := range []struct {
		place Place
		own   bool
	}{
		{Place{Controllers: "pids", Path: "/"}, false},
		{Place{Controllers: "pids", Path: "/system.slice/shim"}, false},
		{Place{Controllers: "pids", Path: "/system.slice"}, false},
		{Place{Controllers: "pids", Path: "/system.slice/shim/ctr"}, true},
		{Place{Controllers: "pids", Path: "/system.slice/shim2"}, true},
		{Place{Controllers: "memory", Path: "/system.slice"}, true},
		{Place{Path: "/system.slice/shim"}, false},
		{Place{Path: "/kubepods/a"}, true},
	} {
		err := alone(c.place, me)
		if (err == nil) != c.own || err != nil && !errors.Is(err, ErrNotOwn) {
			t.Errorf("%+v: %v, want own %v", c.place, err, c.own)
		}
	}
}

func TestUnifiedIsSaidByTheControllers(t *testing.T) {
	for _, c := range []struct {
		controllers string
		unified     bool
	}{
		{"", true},
		{"name=systemd;", true},
		{"cpu,cpuacct;", false},
		{"name=systemd;pids", false},
	} {
		g := &Group{}
		for _, s := range strings.Split(c.controllers, ";") {
			g.Places = append(g.Places, Place{Controllers: s, Path: "/a"})
		}
		if g.Unified() != c.unified {
			t.Errorf("%q: unified is %v", c.controllers, g.Unified())
		}
	}
	if (&Group{}).Unified() {
		t.Error("no place at all is unified")
	}
}
