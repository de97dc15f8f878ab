package usage

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

const rollup = `00400000-7ffd1a3fe000 ---p 00000000 00:00 0                              [rollup]
Rss:                7192 kB
Pss:                2877 kB
Pss_Dirty:          1400 kB
Pss_Anon:           1376 kB
Shared_Clean:       5816 kB
Private_Dirty:      1376 kB
Referenced:         7192 kB
Anonymous:          1376 kB
AnonHugePages:         0 kB
Swap:                  0 kB
`

func TestRollupGivesBytes(t *testing.T) {
	m, err := parseRollup(strings.NewReader(rollup))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Memory{Anonymous: 1376 * 1024, RSS: 7192 * 1024, PSS: 2877 * 1024}); m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
}

func TestRollupThatLacksSomethingIsAnError(t *testing.T) {
	for _, text := range []string{
		"",
		strings.Replace(rollup, "Anonymous:", "Other:", 1),
		strings.Replace(rollup, "2877 kB", "2877 MB", 1),
		strings.Replace(rollup, "7192 kB", "many kB", 1),
	} {
		if m, err := parseRollup(strings.NewReader(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
}

func TestStatOfANameThatLooksLikeFields(t *testing.T) {
	line := "981 (a) S 1 (b) S 1 981 981 0 -1 4194560 1512 0 0 0 7 35 0 0 20 0 11 0 1234 98304 3900 18446744073709551615 1 1 0\n"
	s, err := parseStat([]byte(line))
	if err != nil {
		t.Fatal(err)
	}
	if want := (stat{CPU: CPU{Own: 420 * time.Millisecond}, threads: 11}); s != want {
		t.Errorf("%+v, want %+v", s, want)
	}
	for _, text := range []string{"", "981 (a", "981 (a) S 1 2 3", strings.Replace(line, " 35 ", " x ", 1)} {
		if s, err := parseStat([]byte(text)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %+v, %v", text, s, err)
		}
	}
}

func TestUsageOfThisProcessIsNotNothing(t *testing.T) {
	u, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if u.Anonymous <= 0 || u.RSS < u.Anonymous || u.PSS <= 0 || u.Threads < 1 || u.Files < 3 {
		t.Errorf("%+v", u)
	}
}

func FuzzStat(f *testing.F) {
	f.Add([]byte("1 (x) S 0 0 0 0 0 0 0 0 0 0 1 2 0 0 20 0 3 0 5"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && s.Own < 0 {
			t.Errorf("%q: %v", b, s.Own)
		}
	})
}

func FuzzRollup(f *testing.F) {
	f.Add(rollup)
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseRollup(strings.NewReader(s))
		if err == nil && (m.Anonymous < 0 || m.RSS < 0 || m.PSS < 0) {
			t.Errorf("%q: %+v", s, m)
		}
	})
}
