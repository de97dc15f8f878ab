package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// report is the outcome of a run, and what -json writes.
type report struct {
	Time   time.Time `json:"time"`
	Host   host      `json:"host"`
	Effort effort    `json:"effort"`
	Shims  []*shim   `json:"shims"`
	Rows   []row     `json:"measures"`
	Notes  []string  `json:"notes"`
}

// host is where it was measured.
type host struct {
	Kernel string `json:"kernel"`
	CPUs   int    `json:"cpus"`
	Load   string `json:"load"` // /proc/loadavg before the first measurement
}

// row is a measure with its values.
type row struct {
	Key    string            `json:"key"`
	Group  string            `json:"group"`
	Label  string            `json:"label"`
	Unit   string            `json:"unit"`
	Values map[string]spread `json:"values"` // by shim
	Best   *float64          `json:"best"`   // the better median of the other shims
	Ratio  *float64          `json:"ratio"`  // ours to best
	Raw    *float64          `json:"raw"`    // the median without a shim
	Budget string            `json:"budget"`
	Kept   *bool             `json:"kept"` // the budget; null without one
	Check  string            `json:"check"`
	Passed *bool             `json:"passed"` // the check; null without one

	measure measure
}

// spread is what is told of samples.
type spread struct {
	Median float64 `json:"median"`
	P10    float64 `json:"p10"`
	P90    float64 `json:"p90"`
	N      int     `json:"n"`
}

// tabulate makes the rows of the groups that were run. samples are by measure
// and shim; others are the shims to compare ours with.
func tabulate(measures []measure, run []string, samples map[string]map[string][]float64, ours string, others []string) []row {
	var rows []row
	for _, m := range measures {
		if !slices.Contains(run, m.group) {
			continue
		}
		r := row{
			Key: m.key, Group: m.group, Label: m.label, Unit: m.unit,
			Values: make(map[string]spread),
			Budget: m.budget.describe(m), Check: m.check.describe(m),
			measure: m,
		}
		for name, values := range samples[m.key] {
			r.Values[name] = spread{median(values), quantile(values, 0.1), quantile(values, 0.9), len(values)}
		}
		for _, name := range others {
			v, ok := r.Values[name]
			if ok && (r.Best == nil || (v.Median < *r.Best) != m.more) {
				r.Best = &v.Median
			}
		}
		if v, ok := r.Values[rawName]; ok {
			r.Raw = &v.Median
		}
		if v, ok := r.Values[ours]; ok {
			if r.Best != nil && *r.Best > 0 {
				ratio := v.Median / *r.Best
				r.Ratio = &ratio
			}
			r.Kept = m.budget.judge(m, v.Median, r.Best, r.Raw).answer()
			r.Passed = m.check.judge(m, v.Median, r.Best, r.Raw).answer()
		} else if m.check != (limit{}) {
			// What ours does not answer cannot pass.
			r.Passed = new(bool)
		}
		rows = append(rows, r)
	}
	return rows
}

func (v verdict) answer() *bool {
	if v == notBound {
		return nil
	}
	yes := v == within
	return &yes
}

// failures are the rows that -check fails at, in words.
func failures(rows []row, ours string) []string {
	var failed []string
	for _, r := range rows {
		if r.Passed == nil || *r.Passed {
			continue
		}
		v, ok := r.Values[ours]
		if !ok {
			failed = append(failed, fmt.Sprintf("%s: nothing was measured", r.Key))
			continue
		}
		text := fmt.Sprintf("%s: %s %s, want %s", r.Key, short(v.Median), r.Unit, r.Check)
		if r.Best != nil {
			text += fmt.Sprintf(" (best of the others: %s)", short(*r.Best))
		}
		if r.Raw != nil {
			text += fmt.Sprintf(" (%s: %s)", rawName, short(*r.Raw))
		}
		failed = append(failed, text)
	}
	return failed
}

// write prints the table.
func (r *report) write(w io.Writer) error {
	names := make([]string, 0, len(r.Shims)+1)
	for _, s := range r.Shims {
		names = append(names, s.Name)
	}
	others := names[1:]
	for _, row := range r.Rows {
		if _, ok := row.Values[rawName]; ok {
			names = append(names, rawName)
			break
		}
	}
	head := append([]string{"", "unit"}, names...)
	lines := [][]string{append(head, "ours/best", "budget", "")}
	group := ""
	for _, row := range r.Rows {
		if row.Group != group {
			group = row.Group
			lines = append(lines, []string{strings.ToUpper(group)})
		}
		line := []string{row.Label, row.Unit}
		for _, name := range names {
			line = append(line, cell(row, name))
		}
		ratio := ""
		if row.Ratio != nil {
			ratio = short(*row.Ratio) + "×"
		}
		lines = append(lines, append(line, ratio, row.Budget, mark(row)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s, kernel %s, %d CPUs, load before %s\n", r.Time.Format(time.DateTime), r.Host.Kernel, r.Host.CPUs, r.Host.Load)
	for _, s := range r.Shims {
		fmt.Fprintf(&b, "%s: %s (%s)\n", s.Name, s.Path, s.Version)
	}
	b.WriteString("Medians. MB are 10^6 bytes, GiB are 2^30.\n\n")
	b.WriteString(align(lines, 1))
	if len(others) == 0 {
		b.WriteString("\nNO OTHER SHIM WAS THERE TO COMPARE WITH: budgets that are shares of theirs are not judged.\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "\nNOTE: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func cell(r row, name string) string {
	v, ok := r.Values[name]
	switch {
	case !ok:
		return "-"
	case r.Unit == "" && v.Median == math.Trunc(v.Median):
		return trim(v.Median)
	default:
		return short(v.Median)
	}
}

func mark(r row) string {
	switch {
	case r.Kept == nil:
		return ""
	case *r.Kept:
		return "kept"
	default:
		return "MISSED"
	}
}

// align makes columns of equal width, all but the first left to the right
// flush right. A line of one cell stands alone.
func align(lines [][]string, left int) string {
	var widths []int
	for _, line := range lines {
		if len(line) == 1 {
			continue
		}
		for i, c := range line {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, line := range lines {
		if len(line) == 1 {
			b.WriteString(line[0] + "\n")
			continue
		}
		var text strings.Builder
		for i, c := range line {
			if i > 0 {
				text.WriteString("  ")
			}
			gap := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i < left {
				text.WriteString(c + gap)
			} else {
				text.WriteString(gap + c)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	return b.String()
}

// writeJSON writes the report to a file.
func (r *report) writeJSON(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
