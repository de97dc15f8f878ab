package cgroup

import (
	"math"
	"strings"
	"testing"
)

func TestOOMStateIsReadFromTheFilesOfManyKernels(t *testing.T) {
	for _, tt := range []struct {
		name string
		file string
		want oomState
	}{
		{
			"version 1, Linux 4.12, which does not count",
			"oom_kill_disable 0\nunder_oom 0\n",
			oomState{},
		},
		{
			"version 1, Linux 6.18",
			"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
			oomState{kills: 3},
		},
		{
			"version 1, stopped instead of killed",
			"oom_kill_disable 1\nunder_oom 1\noom_kill 0\n",
			oomState{disabled: true, under: true},
		},
		{
			"version 2, Linux 4.19",
			"low 0\nhigh 0\nmax 731\noom 9\noom_kill 2\n",
			oomState{kills: 2},
		},
		{
			"version 2, Linux 6.18",
			"low 0\nhigh 0\nmax 731\noom 9\noom_kill 2\noom_group_kill 1\nsock_throttled 7\n",
			oomState{kills: 2},
		},
		{
			"a kernel to come",
			"max 4 of 5\n\noom_kill 1\noom_kill_by other\nunder_oom many\nlast",
			oomState{kills: 1},
		},
		{
			"the highest count",
			"oom_kill 18446744073709551615\n",
			oomState{kills: math.MaxUint64},
		},
		{"nothing", "", oomState{}},
	} {
		if got := parseOOM([]byte(tt.file)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func FuzzParseOOM(f *testing.F) {
	f.Add("oom_kill_disable 1\nunder_oom 1\noom_kill 5\n")
	f.Add("low 0\nhigh 0\nmax 731\noom 9\noom_kill 2\noom_group_kill 1\n")
	f.Add("under_oom 1\n")
	f.Add("oom_kill -1\noom_kill\n oom_kill  2 \n")
	f.Fuzz(func(t *testing.T, file string) {
		got := parseOOM([]byte(file))
		if got.kills != 0 && !strings.Contains(file, "oom_kill") {
			t.Errorf("%q: a count from nowhere", file)
		}
		// What comes before and after is another's.
		around := parseOOM([]byte("oom 77\noom_group_kill 99\n" + file + "\nnew_key 1 2 3\n"))
		if around != got {
			t.Errorf("%q: %+v, with lines around it %+v", file, got, around)
		}
	})
}
