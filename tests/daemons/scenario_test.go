package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

func TestEveryTestOfAScenarioIsThere(t *testing.T) {
	files, err := filepath.Glob("../containerd/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var all []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllSubmatch(text, -1) {
			all = append(all, string(m[1]))
		}
	}
	if missing := unknown(scenarios, all); len(missing) > 0 {
		t.Errorf("scenarios name tests that there are not: %q", missing)
	}
	if got := unknown([]scenario{{tests: []string{"TestNobody"}}}, all); !slices.Equal(got, []string{"TestNobody"}) {
		t.Errorf("a test that there is not: %q", got)
	}
	left := rest(all).tests
	for _, s := range scenarios {
		if len(s.tests) == 0 {
			t.Errorf("%s has no test", s.name)
		}
		if !slices.Contains(groups, s.group) {
			t.Errorf("%s counts for nothing in README: %q", s.name, s.group)
		}
		for _, test := range s.tests {
			if slices.Contains(left, test) {
				t.Errorf("%s is of %s and of the rest", test, s.name)
			}
		}
	}
}
