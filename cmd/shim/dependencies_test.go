package main

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// Each module that the shim links is in the file with a reason, and nothing else is.
func TestTheShimLinksWhatWasWeighed(t *testing.T) {
	text, err := os.ReadFile("dependencies.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		module, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			t.Errorf("%s has no reason", module)
		}
		want[module] = true
	}
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, module := range strings.Fields(string(out)) {
		got[module] = true
	}
	if len(got) == 0 {
		t.Fatal("go list names no module at all")
	}
	for _, module := range slices.Sorted(maps.Keys(got)) {
		if !want[module] {
			t.Errorf("the shim links %s, which nobody has weighed", module)
		}
	}
	for _, module := range slices.Sorted(maps.Keys(want)) {
		if !got[module] {
			t.Errorf("%s is in the list, but not linked", module)
		}
	}
}
