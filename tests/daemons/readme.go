package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// works are the cells of README's table: by a group of scenarios and the name of
// a release, whether all of the group's scenarios passed under it.
type works map[[2]string]bool

// measured are the cells as they were found. Every scenario must have been run.
func measured(columns []column) works {
	w := make(works)
	for _, c := range columns {
		for _, g := range groups {
			w[[2]string{g, c.name}] = true
		}
		for _, s := range scenarios {
			if !c.good(s) {
				w[[2]string{s.group, c.name}] = false
			}
		}
	}
	return w
}

// tableHead is how the table's first cell begins, which tells it from others.
const tableHead = "under containerd"

// claimed reads the cells of the table in README's text.
func claimed(readme string) (works, error) {
	var names []string
	w := make(works)
	for line := range strings.Lines(readme) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			if names != nil {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == tableHead:
			names = cells[1:]
		case names == nil || strings.Trim(cells[0], "-") == "":
		case len(cells) != len(names)+1:
			return nil, fmt.Errorf("README: %q has %d cells, want %d", line, len(cells), len(names)+1)
		default:
			for i, name := range names {
				switch cells[i+1] {
				case "yes":
					w[[2]string{cells[0], name}] = true
				case "no":
					w[[2]string{cells[0], name}] = false
				default:
					return nil, fmt.Errorf("README: %q says neither yes nor no", line)
				}
			}
		}
	}
	if names == nil {
		return nil, fmt.Errorf("README has no table that begins with %q", tableHead)
	}
	return w, nil
}

// differ says where README claims something else than what was measured.
func differ(claimed, measured works) error {
	var cells [][2]string
	for c := range claimed {
		cells = append(cells, c)
	}
	for c := range measured {
		if _, ok := claimed[c]; !ok {
			cells = append(cells, c)
		}
	}
	slices.SortFunc(cells, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	var errs []error
	for _, c := range cells {
		says, inReadme := claimed[c]
		is, inRun := measured[c]
		switch {
		case !inReadme:
			errs = append(errs, fmt.Errorf("README does not say whether %q works under %s", c[0], c[1]))
		case !inRun:
			errs = append(errs, fmt.Errorf("README speaks of %q under %s, which was not run", c[0], c[1]))
		case says != is:
			errs = append(errs, fmt.Errorf("README says of %q under %s: %s", c[0], c[1], map[bool]string{true: "yes, but it failed", false: "no, but it works"}[says]))
		}
	}
	return errors.Join(errs...)
}
