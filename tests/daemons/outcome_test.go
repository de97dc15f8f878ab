package main

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

const printed = `=== RUN   TestOne
    one_test.go:1: a word
--- PASS: TestOne (1.25s)
=== RUN   TestTwo
=== RUN   TestTwo/part
    two_test.go:1: the reason
--- FAIL: TestTwo (0.10s)
    --- FAIL: TestTwo/part (0.10s)
=== RUN   TestThree
--- SKIP: TestThree (0.00s)
FAIL
`

func TestOutcomeIsReadFromWhatTheTestsPrint(t *testing.T) {
	var told strings.Builder
	o := newOutcome("1.6", &told, new(sync.Mutex))
	for _, b := range []byte(printed) { // in the smallest pieces
		if _, err := o.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	o.end(errors.New("exit status 1"))
	for _, c := range []struct {
		tests []string
		want  bool
	}{
		{[]string{"TestOne"}, true},
		{[]string{"TestTwo"}, false},
		{[]string{"TestOne", "TestTwo"}, false},
		{[]string{"TestThree"}, false},
		{[]string{"TestFour"}, false}, // was not run
	} {
		if got := o.good(scenario{tests: c.tests}); got != c.want {
			t.Errorf("%v: %v, want %v", c.tests, got, c.want)
		}
	}
	if text := told.String(); !strings.Contains(text, "1.6:     two_test.go:1: the reason\n") || strings.Contains(text, "a word") {
		t.Errorf("told:\n%s", text)
	}
}

func TestABinaryThatDiesIsHeard(t *testing.T) {
	var told strings.Builder
	o := newOutcome("1.6", &told, new(sync.Mutex))
	io.WriteString(o, "=== RUN   TestOne\npanic: no\n")
	o.end(errors.New("exit status 2"))
	if text := told.String(); !strings.Contains(text, "panic: no") || !strings.Contains(text, "exit status 2") {
		t.Errorf("told:\n%s", text)
	}
}

func TestTheTableHasALineForEachScenarioAndAColumnForEachDaemon(t *testing.T) {
	o := newOutcome("", io.Discard, new(sync.Mutex))
	io.WriteString(o, printed)
	var text strings.Builder
	printTable(&text, []scenario{{"", "one", []string{"TestOne"}}, {"", "one and two", []string{"TestOne", "TestTwo"}}},
		[]column{{"1.6", "1.6.20", o}, {"1.7", "1.7.24", newOutcome("", io.Discard, new(sync.Mutex))}})
	want := `containerd   1.6.20    1.7.24
one          ok        FAILED
one and two  FAILED    FAILED
`
	if text.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &text, want)
	}
}
