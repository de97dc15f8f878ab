package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"
)

// outcome is what became of the tests under one release. It takes what they
// print with -test.v, and passes on what belongs to one that failed.
type outcome struct {
	prefix string // of every line that is passed on
	w      io.Writer
	mu     *sync.Mutex // guards w, which others write to

	partial []byte            // a line that has not ended yet
	held    []string          // what the test that runs has printed
	passed  map[string]string // how long it took, by the test's name
	failed  map[string]bool
	err     error // of the test binary
	took    time.Duration
}

func newOutcome(prefix string, w io.Writer, mu *sync.Mutex) *outcome {
	return &outcome{prefix: prefix, w: w, mu: mu, passed: make(map[string]string), failed: make(map[string]bool)}
}

// Write takes the next bytes, which may end anywhere.
func (o *outcome) Write(p []byte) (int, error) {
	o.partial = append(o.partial, p...)
	for {
		line, rest, ok := bytes.Cut(o.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		o.line(string(line))
		o.partial = append(o.partial[:0], rest...)
	}
}

// verdict is a line about a test itself; those about its parts are indented.
var verdict = regexp.MustCompile(`^(=== RUN  |--- PASS:|--- FAIL:|--- SKIP:) +(\w+)(?: \(([0-9.]+)s\))?$`)

func (o *outcome) line(line string) {
	m := verdict.FindStringSubmatch(line)
	if m == nil {
		o.held = append(o.held, line)
		return
	}
	switch m[1] {
	case "--- PASS:":
		o.passed[m[2]] = m[3]
	case "--- FAIL:", "--- SKIP:": // what was not run did not pass
		o.failed[m[2]] = true
		o.held = append(o.held, line)
		o.tell()
	}
	o.held = nil
}

// tell prints what was held back.
func (o *outcome) tell() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, line := range o.held {
		fmt.Fprintf(o.w, "%s: %s\n", o.prefix, line)
	}
}

// end says how the test binary ended. What it said last belongs to no test, or to
// one that has not ended: it is told if the end was not well.
func (o *outcome) end(err error) {
	o.err = err
	if err != nil && len(o.failed) == 0 {
		o.held = append(o.held, err.Error())
		o.tell()
	}
	o.held = nil
}

// good tells whether a scenario passed.
func (o *outcome) good(s scenario) bool {
	for _, test := range s.tests {
		if _, ok := o.passed[test]; !ok || o.failed[test] {
			return false
		}
	}
	return true
}
