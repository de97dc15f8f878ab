package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is two groups, of which one was run, with a measure of each kind.
func example() []measure {
	return []measure{
		{"g", "g.abs", "absolute", "MB", false, most(1.2), most(1.5)},
		{"g", "g.ratio", "ratio", "ms", false, times(0.5), times(0.9)},
		{"g", "g.rate", "rate", "GiB/s", true, times(3), times(1.5)},
		{"g", "g.plain", "plain", "", false, limit{}, limit{}},
		{"g", "g.silent", "silent", "ms", false, most(1), most(1)},
		{"g", "g.bare", "against no shim", "GiB/s", true, times(3), limit{bare: 0.9}},
		{"other", "other.x", "not run", "ms", false, most(1), most(1)},
	}
}

func exampleRows() []row {
	return tabulate(example(), []string{"g"}, map[string]map[string][]float64{
		"g.abs":    {"ours": {1.4, 1.3, 9}, "a": {2}, "b": {4}},
		"g.ratio":  {"ours": {4}, "a": {10}, "b": {5}},
		"g.rate":   {"ours": {2}, "a": {1}, "b": {0.5}},
		"g.plain":  {"ours": {7}, "a": {8}, "raw runc": {1}},
		"g.silent": {"a": {1}},
		"g.bare":   {"ours": {2}, "a": {1.5}, "raw runc": {2.5}},
	}, "ours", []string{"a", "b"})
}

func TestBestOfTheOthersDependsOnWhatIsBetter(t *testing.T) {
	rows := exampleRows()
	if len(rows) != 6 {
		t.Fatalf("%d rows, want those of the group that was run", len(rows))
	}
	for i, want := range []float64{2, 5, 1, 8} {
		if rows[i].Best == nil || *rows[i].Best != want {
			t.Errorf("%s: best %v, want %v", rows[i].Key, rows[i].Best, want)
		}
	}
}

func TestBudgetsAndChecksAreJudgedEachByItself(t *testing.T) {
	text := func(b *bool) string {
		switch {
		case b == nil:
			return "-"
		case *b:
			return "yes"
		default:
			return "no"
		}
	}
	for i, want := range []struct{ kept, passed string }{
		{"no", "yes"}, // 1.4 of 1.2, of 1.5
		{"no", "yes"}, // 0.8 ×
		{"no", "yes"}, // 2 ×
		{"-", "-"},
		{"-", "no"},  // ours did not answer
		{"no", "no"}, // 0.8 × of what there is without a shim
	} {
		r := exampleRows()[i]
		if text(r.Kept) != want.kept || text(r.Passed) != want.passed {
			t.Errorf("%s: kept %s, passed %s; want %+v", r.Key, text(r.Kept), text(r.Passed), want)
		}
	}
	want := []string{
		"g.silent: nothing was measured",
		"g.bare: 2.00 GiB/s, want ≥ 0.9 × raw runc (best of the others: 1.50) (raw runc: 2.50)",
	}
	if got := failures(exampleRows(), "ours"); !slices.Equal(got, want) {
		t.Errorf("failures: %q, want %q", got, want)
	}
}

func TestWithoutOthersSharesAreNotJudged(t *testing.T) {
	rows := tabulate(example(), []string{"g"}, map[string]map[string][]float64{
		"g.abs": {"ours": {1}}, "g.ratio": {"ours": {100}}, "g.bare": {"ours": {1}},
	}, "ours", nil)
	if rows[0].Kept == nil || !*rows[0].Kept {
		t.Error("a budget that is a number is not judged")
	}
	if rows[1].Kept != nil || rows[1].Passed != nil || rows[1].Ratio != nil {
		t.Errorf("a budget that is a share is judged: %+v", rows[1])
	}
	if rows[5].Passed != nil {
		t.Errorf("a check that is a share of what there is without a shim is judged: %+v", rows[5])
	}
}

func TestLimitsHoldAtTheirEdge(t *testing.T) {
	best, raw := 2.0, 10.0
	for _, c := range []struct {
		l    limit
		more bool
		ours float64
		want verdict
	}{
		{most(1), false, 1, within},
		{most(1), false, 1.01, past},
		{most(0), false, 0, within},
		{most(0), false, -1, within},
		{times(0.5), false, 1, within},
		{times(0.5), false, 1.1, past},
		{times(3), true, 6, within},
		{times(3), true, 5.9, past},
		{limit{bare: 0.5}, true, 5, within},
		{limit{bare: 0.5}, true, 4.9, past},
		{limit{times: 2, bare: 0.5}, true, 4.9, within},
		{limit{times: 3, bare: 0.5}, true, 5, within},
		{limit{times: 3, bare: 0.5}, true, 4.9, past},
		{limit{}, false, 1e9, notBound},
	} {
		m := measure{more: c.more}
		if got := c.l.judge(m, c.ours, &best, &raw); got != c.want {
			t.Errorf("%s of %v: %v, want %v", c.l.describe(m), c.ours, got, c.want)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	got := align([][]string{
		{"", "a", "µnit"},
		{"GROUP THAT IS LONG"},
		{"longer name", "1.5", "≤ 2"},
		{"x", "10", ""},
	}, 1)
	want := "" +
		"               a  µnit\n" +
		"GROUP THAT IS LONG\n" +
		"longer name  1.5   ≤ 2\n" +
		"x             10\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestReportSaysWhatIsMissedAndWhatIsMissing(t *testing.T) {
	r := &report{
		Time: time.Unix(0, 0).UTC(), Shims: []*shim{{Name: "ours"}, {Name: "a"}, {Name: "b"}},
		Rows: exampleRows(), Notes: []string{"b IS NOT MEASURED: why"},
	}
	var b strings.Builder
	if err := r.write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"MISSED", "raw runc", "ours/best", "NOTE: b IS NOT MEASURED: why", "≥ 3 × best"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "NO OTHER SHIM") {
		t.Error("it says that there was nothing to compare with")
	}
}

func TestReportAsJSONCanBeReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	if err := (&report{Rows: exampleRows()}).writeJSON(path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Measures []struct {
			Key    string
			Values map[string]struct {
				Median float64
				N      int
			}
			Kept *bool
		}
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	m := back.Measures[0]
	if m.Key != "g.abs" || m.Values["ours"].Median != 1.4 || m.Values["ours"].N != 3 || m.Kept == nil || *m.Kept {
		t.Errorf("%+v", m)
	}
}

func TestEveryMeasureBelongsToAGroupAndHasAKeyOfItsOwn(t *testing.T) {
	known := make(map[string]bool)
	for _, g := range groups() {
		known[g] = true
	}
	seen := make(map[string]bool)
	for _, m := range measures() {
		if !known[m.group] || !strings.HasPrefix(m.key, m.group+".") || seen[m.key] {
			t.Errorf("%+v", m)
		}
		seen[m.key] = true
	}
}
