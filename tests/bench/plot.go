package main

import (
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// plots are what -svg draws: a picture a topic, a group of bars a measure.
var plots = []struct {
	file, title string
	keys        []string
}{
	{"memory.svg", "What a shim takes (MB, threads; less is better)", []string{
		"memory.anonymous", "execs.anonymous", "memory.rss", "size.binary", "memory.threads"}},
	{"latency.svg", "How long a call takes (ms; less is better)", []string{
		"latency.launch", "latency.pids", "latency.stats", "latency.kill", "latency.killed", "latency.exec", "latency.life"}},
	{"stdout.svg", "64 KiB writes to stdout", []string{"stdout.bulk.rate", "stdout.bulk.cpu"}},
}

const (
	plotWidth = 720
	plotLeft  = 240 // of the bars
	plotRight = 90  // for the numbers
	barHeight = 13
	barGap    = 3
	groupGap  = 14
)

// barColours are ours and the others' in their order; they are told apart in
// print and by those who see few colours.
var barColours = []string{"#0b6e4f", "#b8b8b8", "#7d8597", "#d9c5b2"}

// writeSVG draws the plots into dir. A measure that was not taken is left out, as
// is a plot without any.
func (r *report) writeSVG(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range plots {
		var rows []row
		for _, key := range p.keys {
			if i := slices.IndexFunc(r.Rows, func(r row) bool { return r.Key == key }); i >= 0 {
				rows = append(rows, r.Rows[i])
			}
		}
		if len(rows) == 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), []byte(draw(p.title, rows, r.Shims)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// draw makes a picture of horizontal bars. Each row has a scale of its own.
func draw(title string, rows []row, shims []*shim) string {
	var b strings.Builder
	y := 52
	for _, r := range rows {
		label := r.Label
		if r.Unit != "" {
			label += ", " + r.Unit
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", plotLeft-10, y+barHeight-2, html.EscapeString(label))
		most := 0.0
		for _, s := range shims {
			most = math.Max(most, r.Values[s.Name].Median)
		}
		for i, s := range shims {
			v, ok := r.Values[s.Name]
			if !ok {
				continue
			}
			width := 1.0
			if most > 0 {
				width = math.Max(1, v.Median/most*(plotWidth-plotLeft-plotRight))
			}
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, plotLeft, y, width, barHeight, barColours[i%len(barColours)])
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", float64(plotLeft)+width+6, y+barHeight-2, cell(r, s.Name))
			y += barHeight + barGap
		}
		y += groupGap
	}
	var legend strings.Builder
	x := plotLeft
	for i, s := range shims {
		fmt.Fprintf(&legend, `<rect x="%d" y="30" width="10" height="10" fill="%s"/><text x="%d" y="39">%s</text>`+"\n", x, barColours[i%len(barColours)], x+15, html.EscapeString(s.Name))
		x += 30 + 7*len(s.Name)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#222">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="10" y="20" font-size="14" font-weight="bold">%s</text>
`, plotWidth, y, html.EscapeString(title)) + legend.String() + b.String() + "</svg>\n"
}
