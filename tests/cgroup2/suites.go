package main

import (
	"fmt"
	"strings"
)

// suite is a test binary as it is run in the machine.
type suite struct {
	name string
	pkg  string // the package's directory in the module
	env  []string
	skip string // tests that have nothing to say in there, as go test's -skip
}

// suites are the rooms that touch what another kernel and another cgroup version
// may change, and the end-to-end tests with each runtime.
func suites() []suite {
	return []suite{
		{name: "cgroup", pkg: "cgroup"},
		{name: "reaper", pkg: "reaper"},
		{name: "mount", pkg: "mount"},
		{name: "runc", pkg: "runc"},
		{name: "bootstrap", pkg: "bootstrap"},
		{name: "e2e-runc", pkg: "tests", env: []string{"HOLDFAST_RUNTIME=runc"}},
		{name: "e2e-crun", pkg: "tests", env: []string{"HOLDFAST_RUNTIME=crun"}},
	}
}

// choose picks suites by their names; no name picks all.
func choose(names []string) ([]suite, error) {
	all := suites()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []suite
	for _, name := range names {
		i := 0
		for i < len(all) && all[i].name != name {
			i++
		}
		if i == len(all) {
			var known []string
			for _, s := range all {
				known = append(known, s.name)
			}
			return nil, fmt.Errorf("there is no suite %q, but %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}
