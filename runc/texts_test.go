package runc

import (
	"os"
	"strings"
	"testing"
)

// collected is a line of testdata/texts.
type collected struct {
	where   string
	verb    verb
	want    error
	message string
}

func collectedTexts(t *testing.T) []collected {
	t.Helper()
	b, err := os.ReadFile("testdata/texts")
	if err != nil {
		t.Fatal(err)
	}
	var all []collected
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.SplitN(line, " | ", 5)
		if len(parts) != 5 {
			t.Fatalf("testdata/texts: no five columns: %s", line)
		}
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		c := collected{where: parts[0] + ", " + parts[1], verb: verbCount, message: strings.ReplaceAll(parts[4], `\n`, "\n")}
		for v := range verbCount {
			if v.String() == parts[2] {
				c.verb = v
			}
		}
		known := parts[3] == "-"
		for _, s := range sentinels {
			if s.name == parts[3] {
				c.want, known = s.err, true
			}
		}
		if c.verb == verbCount || !known {
			t.Fatalf("testdata/texts: unknown verb or sentinel: %s", line)
		}
		all = append(all, c)
	}
	return all
}

func TestTheWordsOfRuntimesHaveTheirMeaning(t *testing.T) {
	for _, c := range collectedTexts(t) {
		if got := meaning(c.verb, c.message); got != c.want {
			t.Errorf("%s, %s: %q means %v, want %v", c.where, c.verb, c.message, got, c.want)
		}
	}
}

// A row that no known message needs is a guess.
func TestEachRowOfTheTableIsNeededByAMessage(t *testing.T) {
	all := collectedTexts(t)
	for i := range texts {
		row := texts[i]
		texts[i].verbs = 0
		needed := false
		for _, c := range all {
			needed = needed || meaning(c.verb, c.message) != c.want
		}
		if !needed {
			t.Errorf("no collected message needs row %d: %+v", i, row)
		}
		texts[i] = row
	}
}

func TestNoWordsMeanNothing(t *testing.T) {
	for v := range verbCount {
		if got := meaning(v, ""); got != nil {
			t.Errorf("%s: the empty message means %v", v, got)
		}
	}
}

func TestAnErrorDoesNotRepeatItself(t *testing.T) {
	for _, test := range []struct{ verb, message, want string }{
		{"create", "runc create failed: container with given ID already exists", "runc create failed: container with given ID already exists"},
		{"exec", "exec failed: container does not exist", "runc exec: exec failed: container does not exist"},
		{"kill", "container not running", "runc kill: container not running"},
		{"kill", "", "runc kill: "},
	} {
		if got := (&Error{Runtime: "runc", Verb: test.verb, Message: test.message}).Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
