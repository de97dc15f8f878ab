package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
)

// suite is a test binary as it is run in the machine.
type suite struct {
	name string
	pkg  string // the package's directory in the module
	env  []string
	skip string   // tests that cannot hold in there, as go test's -skip
	core []string // the files whose tests are run unless all are asked for; none: all
}

// suites are the rooms that touch what another kernel and another cgroup version
// may change, and the end-to-end tests with each runtime.
func suites() []suite {
	return []suite{
		{name: "cgroup", pkg: "cgroup"},
		{name: "pidfd", pkg: "pidfd"},
		{name: "reaper", pkg: "reaper"},
		{name: "mount", pkg: "mount", skip: newerKernels},
		{name: "runc", pkg: "runc"},
		{name: "bootstrap", pkg: "bootstrap", skip: needsFuse},
		{name: "e2e-runc", pkg: "tests", env: []string{"HOLDFAST_RUNTIME=runc"}, core: core()},
		{name: "e2e-crun", pkg: "tests", env: []string{"HOLDFAST_RUNTIME=crun"}, core: core()},
	}
}

// newerKernels are tests of what came after Linux 6.1: a tmpfs whose ids are mapped
// (6.3), and overlays whose layers are given one by one (6.7).
const newerKernels = "^TestIDMapped|/^layer_by_layer$"

// needsFuse has a file system of its own, of a module that the machine is not given.
const needsFuse = "^TestDeleteDoesNotWaitForTheMemoryOfOthers$"

// core are the end-to-end tests that the cgroup version and the runtime matter to.
// The others have their say where there is a real processor.
func core() []string {
	return []string{
		"e2e_cgroup_test.go", "e2e_resources_test.go", "oom_test.go",
		"e2e_life_test.go", "e2e_exec_test.go", "e2e_group_test.go", "e2e_clean_test.go",
	}
}

// tests makes the suite's core a pattern for go test's -run; root is the module's
// directory. It is empty where the suite has none.
func (s *suite) tests(root string) (string, error) {
	var names []string
	for _, file := range s.core {
		path := filepath.Join(root, s.pkg, file)
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		found := len(names)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names = append(names, fn.Name.Name)
			}
		}
		if len(names) == found {
			return "", fmt.Errorf("%s holds no test", path)
		}
	}
	if len(names) == 0 {
		return "", nil
	}
	return "^(" + strings.Join(names, "|") + ")$", nil
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
