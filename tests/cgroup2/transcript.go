package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// transcript takes what the machine writes on its line: what tests with -test.v
// print, between the marks of guest/second.sh, which are lines that begin with
// "@@ ". It passes on what a person wants to see at once and keeps count.
type transcript struct {
	w       io.Writer
	verbose bool
	now     func() time.Time

	partial []byte // a line that has not ended yet
	results []result
	held    []string // what the test that runs has printed
	telling bool     // what comes belongs to a failed test
	ended   bool
}

// result is what became of one suite.
type result struct {
	name                    string
	passed, failed, skipped int
	left                    []string
	status                  int // the test binary's exit status; -1 as long as it runs
	began                   time.Time
	took                    time.Duration
}

func newTranscript(w io.Writer, verbose bool) *transcript {
	return &transcript{w: w, verbose: verbose, now: time.Now}
}

// Write takes the next bytes, which may end anywhere.
func (t *transcript) Write(p []byte) (int, error) {
	t.partial = append(t.partial, p...)
	for {
		line, rest, ok := bytes.Cut(t.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		t.line(strings.TrimSuffix(string(line), "\r"))
		t.partial = append(t.partial[:0], rest...)
	}
}

func (t *transcript) line(line string) {
	if mark, ok := strings.CutPrefix(line, "@@ "); ok {
		t.mark(mark)
		return
	}
	if t.verbose {
		fmt.Fprintln(t.w, line)
	}
	var r *result
	if len(t.results) > 0 {
		r = &t.results[len(t.results)-1]
	}
	switch {
	case r == nil:
	case strings.HasPrefix(line, "=== RUN ") && !strings.Contains(line, "/"):
		t.held, t.telling = nil, false
	case strings.HasPrefix(line, "--- PASS: "):
		r.passed++
		t.held, t.telling = nil, false
		return
	case strings.HasPrefix(line, "--- SKIP: "):
		r.skipped++
		t.held = append(t.held, line)
		t.tell()
		return
	case strings.HasPrefix(line, "--- FAIL: "):
		r.failed++
		t.held = append(t.held, line)
		t.tell()
		t.telling = true
		return
	}
	if t.telling && !t.verbose {
		fmt.Fprintln(t.w, line)
		return
	}
	t.held = append(t.held, line)
}

// tell prints what was held back.
func (t *transcript) tell() {
	if !t.verbose {
		for _, line := range t.held {
			fmt.Fprintln(t.w, line)
		}
	}
	t.held = nil
}

func (t *transcript) mark(mark string) {
	word, rest, _ := strings.Cut(mark, " ")
	if word == "suite" {
		t.results = append(t.results, result{name: rest, status: -1, began: t.now()})
		t.held, t.telling = nil, false
		fmt.Fprintf(t.w, "=== %s\n", rest)
		return
	}
	switch word {
	case "machine":
		fmt.Fprintf(t.w, "=== %s\n", rest)
		return
	case "end":
		t.ended = true
		return
	}
	if len(t.results) == 0 {
		return
	}
	r := &t.results[len(t.results)-1]
	switch word {
	case "status":
		r.took = t.now().Sub(r.began)
		if n, err := strconv.Atoi(rest); err == nil {
			r.status = n
		}
		// A binary that failed without a test that did: it panicked, or could not
		// begin.
		if r.status != 0 && r.failed == 0 {
			t.tell()
		}
		t.held, t.telling = nil, false
	case "left":
		r.left = append(r.left, rest)
		fmt.Fprintf(t.w, "left behind: %s\n", rest)
	}
}

// err is nil if all of these suites ran to their ends and were well.
func (t *transcript) err(wanted []suite) error {
	if !t.ended || len(t.results) != len(wanted) {
		return errors.New("the machine ended before its tests did")
	}
	var errs []error
	total := 0
	for _, r := range t.results {
		total += r.passed
		if !r.good() {
			errs = append(errs, fmt.Errorf("%s failed", r.name))
		}
	}
	if total == 0 {
		errs = append(errs, errors.New("not one test was run"))
	}
	return errors.Join(errs...)
}

func (r *result) good() bool { return r.status == 0 && r.failed == 0 && len(r.left) == 0 }

// summary prints a line for each suite, and the words of one that did not end.
func (t *transcript) summary(w io.Writer) {
	if !t.ended {
		t.tell()
	}
	for _, r := range t.results {
		word := "ok  "
		if !r.good() {
			word = "FAIL"
		}
		fmt.Fprintf(w, "%s %-10s %3d passed, %d failed, %d skipped", word, r.name, r.passed, r.failed, r.skipped)
		if r.status == -1 {
			fmt.Fprintln(w, ", and did not end")
			continue
		}
		fmt.Fprintf(w, " in %.0fs\n", r.took.Seconds())
	}
}
