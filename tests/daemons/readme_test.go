package main

import (
	"io"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
)

// columnsOf are all releases, with every test passed but the ones named.
func columnsOf(failed ...string) []column {
	var columns []column
	for _, r := range releases() {
		o := newOutcome("", io.Discard, new(sync.Mutex))
		for _, s := range scenarios {
			for _, test := range s.tests {
				o.passed[test] = "0.00"
			}
		}
		for _, test := range failed {
			o.failed[test] = true
		}
		columns = append(columns, column{name: r.name, outcome: o})
	}
	return columns
}

// That it is true is found by a run; that it is whole, here.
func TestReadmeSpeaksOfEveryGroupUnderEveryDaemon(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	claims, err := claimed(string(text))
	if err != nil {
		t.Fatal(err)
	}
	is := measured(columnsOf())
	for c := range claims {
		if _, ok := is[c]; ok {
			is[c] = claims[c]
		}
	}
	if err := differ(claims, is); err != nil {
		t.Error(err)
	}
}

const readme = `# A shim

| another | table |
| --- | --- |
| with | cells |

| under containerd | 1.6 | 1.7 |
| --- | --- | --- |
| pods | yes | no |
| Docker | yes | yes |

| a third | table |
`

func TestClaimsAreReadFromTheTable(t *testing.T) {
	got, err := claimed(readme)
	want := works{{"pods", "1.6"}: true, {"pods", "1.7"}: false, {"Docker", "1.6"}: true, {"Docker", "1.7"}: true}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for why, text := range map[string]string{
		"no table that begins": "# A shim\n\n| another | table |\n",
		"has 2 cells, want 3":  strings.Replace(readme, "| pods | yes | no |", "| pods | yes |", 1),
		"neither yes nor no":   strings.Replace(readme, "| pods | yes | no |", "| pods | yes | perhaps |", 1),
	} {
		if _, err := claimed(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
}

func TestEveryDifferenceFromTheClaimsIsTold(t *testing.T) {
	claims := measured(columnsOf())
	if err := differ(claims, measured(columnsOf())); err != nil {
		t.Errorf("the same: %v", err)
	}
	broken := scenarios[len(scenarios)-1]
	err := differ(claims, measured(columnsOf(broken.tests[0])))
	if err == nil || strings.Count(err.Error(), "yes, but it failed") != len(releases()) || !strings.Contains(err.Error(), broken.group) {
		t.Errorf("a failure: %v", err)
	}
	err = differ(measured(columnsOf(broken.tests[0])), claims)
	if err == nil || !strings.Contains(err.Error(), "no, but it works") {
		t.Errorf("an understatement: %v", err)
	}
	one := [2]string{groups[0], "1.6"}
	less := maps.Clone(claims)
	delete(less, one)
	if err := differ(less, claims); err == nil || !strings.Contains(err.Error(), "does not say whether") {
		t.Errorf("a gap in README: %v", err)
	}
	if err := differ(claims, less); err == nil || !strings.Contains(err.Error(), "was not run") {
		t.Errorf("a claim that nothing shows: %v", err)
	}
}
