package main

import (
	"fmt"
	"io"
	"strings"
)

// column is a release and what came of the scenarios under it.
type column struct {
	name, version string
	*outcome
}

// printTable prints what works where.
func printTable(w io.Writer, lines []scenario, columns []column) {
	width := 0
	for _, s := range lines {
		width = max(width, len(s.name))
	}
	row := func(name string, of func(column) string) {
		var line strings.Builder
		fmt.Fprintf(&line, "%-*s", width, name)
		for _, c := range columns {
			fmt.Fprintf(&line, "  %-8s", of(c))
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
	row("containerd", func(c column) string { return c.version })
	for _, s := range lines {
		row(s.name, func(c column) string {
			if c.good(s) {
				return "ok"
			}
			return "FAILED"
		})
	}
}
