package cgroup

import (
	"reflect"
	"testing"
)

func TestWhereARuntimeMakesTheCgroup(t *testing.T) {
	for _, c := range []struct {
		path, id, at, name string
		ours               bool
	}{
		{"/default/c1", "c1", "/default/c1", "c1", true},
		{"//default/./c1/", "c1", "/default/c1", "c1", true},
		{"/kubepods/burstable/pod1/c1", "c1", "/kubepods/burstable/pod1/c1", "c1", true},
		{"kubepods-burstable-pod1.slice:cri-containerd:c1", "c1",
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-c1.scope", "cri-containerd-c1.scope", true},
		{":runc:c1", "c1", "/system.slice/runc-c1.scope", "runc-c1.scope", true},
		{"user.slice::c1", "c1", "/user.slice/c1.scope", "c1.scope", true},
		{"-.slice:a:c1", "c1", "/a-c1.scope", "a-c1.scope", true},
		{"a.slice:b:c1.slice", "c1", "/a.slice/c1.slice", "c1.slice", false},
		{"strange:a:c1", "c1", "", "a-c1.scope", true},
		{"", "c1", "", "c1", true},
		{"relative/c1", "c1", "", "c1", true},
		{"/by/hand", "c1", "/by/hand", "hand", false},
		{"/", "c1", "/", "/", false},
		{"/../..", "c1", "/", "/", false},
		{"/a/xc1", "c1", "/a/xc1", "xc1", false},
	} {
		at, name := groupPath(c.path, c.id)
		if at != c.at || name != c.name || namesContainer(name, c.id) != c.ours {
			t.Errorf("%q: at %q, called %q, ours %v", c.path, at, name, namesContainer(name, c.id))
		}
	}
}

func TestTheContainersGroupAboveItsInit(t *testing.T) {
	place := func(controllers, path, dir string) Place {
		return Place{Controllers: controllers, Path: path, Dir: dir}
	}
	for _, c := range []struct {
		name     string
		in, want []Place
	}{
		{"itself", []Place{place("", "/ns/c1", "/cg/ns/c1")}, []Place{place("", "/ns/c1", "/cg/ns/c1")}},
		{"one of its own", []Place{place("", "/ns/c1/init.scope", "/cg/ns/c1/init.scope")}, []Place{place("", "/ns/c1", "/cg/ns/c1")}},
		{"elsewhere in some", []Place{place("memory", "/ns/c1", "/m/ns/c1"), place("name=systemd", "/", "/s")}, []Place{place("memory", "/ns/c1", "/m/ns/c1")}},
		{"below another root", []Place{place("", "/outer/ns/c1", "/cg/ns/c1")}, []Place{place("", "/outer/ns/c1", "/cg/ns/c1")}},
		{"a namesake", []Place{place("", "/other/c1", "/cg/other/c1")}, nil},
		{"one that begins alike", []Place{place("", "/ns/c10", "/cg/ns/c10")}, nil},
	} {
		var got []Place
		if g := groupAbove(&Group{Places: c.in}, "/ns/c1"); g != nil {
			got = g.Places
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}
