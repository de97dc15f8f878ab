package cgroup

import (
	"reflect"
	"testing"
)

func TestProcCgroupOfEachKindOfMachine(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []membership
	}{
		{"version 2", "0::/system.slice/x.service\n", []membership{{path: "/system.slice/x.service"}}},
		{"version 2, in the root of a cgroup namespace", "0::/\n", []membership{{path: "/"}}},
		{"version 2, of a process outside the namespace", "0::/../../other\n", []membership{{path: "/../../other"}}},
		{"version 2, zombie of a removed group", "0::/kubepods/pod1/ctr (deleted)\n",
			[]membership{{path: "/kubepods/pod1/ctr", deleted: true}}},
		{"hybrid", "12:cpu,cpuacct:/a\n1:name=systemd:/init.scope\n0::/init.scope\n", []membership{
			{controllers: "cpu,cpuacct", path: "/a"},
			{controllers: "name=systemd", path: "/init.scope"},
			{path: "/init.scope"},
		}},
		{"colons and spaces in the name", "4:memory:/system.slice/dev:0 x.scope\n",
			[]membership{{controllers: "memory", path: "/system.slice/dev:0 x.scope"}}},
		{"no newline at the end", "0::/a", []membership{{path: "/a"}}},
		{"empty", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseProcCgroup([]byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestProcCgroupRefusesWhatTheKernelDoesNotWrite(t *testing.T) {
	for _, file := range []string{"x\n", "1:cpu\n", "1:cpu:relative\n", "0::\n"} {
		if got, err := parseProcCgroup([]byte(file)); err == nil {
			t.Errorf("%q gave %+v", file, got)
		}
	}
}

func TestPidsAreListedOnceAndStrangersNot(t *testing.T) {
	seen := make(map[int]struct{})
	pids, err := parsePids([]byte("12\n0\n7\n12\n"), seen, nil)
	if err != nil {
		t.Fatal(err)
	}
	if pids, err = parsePids([]byte("7\n4194304"), seen, pids); err != nil {
		t.Fatal(err)
	}
	if want := []int{12, 7, 4194304}; !reflect.DeepEqual(pids, want) {
		t.Errorf("got %v, want %v", pids, want)
	}
	for _, file := range []string{"a\n", "-1\n", "1 2\n", "\n", "99999999999999999999\n"} {
		if got, err := parsePids([]byte(file), seen, nil); err == nil {
			t.Errorf("%q gave %v", file, got)
		}
	}
}

func FuzzProcCgroup(f *testing.F) {
	f.Add([]byte("12:cpu,cpuacct:/a\n1:name=systemd:/init.scope\n0::/a (deleted)\n"))
	f.Add([]byte("0::/../../x:y\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ms, _ := parseProcCgroup(b)
		for _, m := range ms {
			if m.path == "" && !m.deleted {
				t.Errorf("membership without a path in %q", b)
			}
			if _, ok := in(ms, m.controllers); !ok {
				t.Errorf("%q is not found again", m.controllers)
			}
		}
		_, _ = parsePids(b, make(map[int]struct{}), nil)
	})
}
