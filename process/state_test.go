package process

import (
	"errors"
	"strings"
	"testing"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/reaper"
)

// table is the whole of what may follow what, written out for a reader; the
// code's own table is held against it.
const table = `
added    > created starting deleted
created  > deleted starting stopped
starting > created running stopped
running  > pausing stopped
pausing  > running paused stopped
paused   > running stopped
stopped  > deleted
deleted  >
`

func TestTransitionsAreThoseOfTheTable(t *testing.T) {
	allowed := map[string]bool{}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if len(lines) != states {
		t.Fatalf("the table has %d states, the code %d", len(lines), states)
	}
	for i, line := range lines {
		from, to, _ := strings.Cut(line, ">")
		if from = strings.TrimSpace(from); from != State(i).String() {
			t.Errorf("state %d is %s, the table says %s", i, State(i), from)
		}
		for _, name := range strings.Fields(to) {
			allowed[from+">"+name] = true
		}
	}
	for from := State(0); from < states; from++ {
		for to := State(0); to < states; to++ {
			if got, want := from.CanBecome(to), allowed[from.String()+">"+to.String()]; got != want {
				t.Errorf("%s > %s: %v, want %v", from, to, got, want)
			}
		}
	}
	if State(99).CanBecome(Created) || Created.CanBecome(99) {
		t.Error("a state that does not exist has transitions")
	}
}

func TestEveryStateButTheLastLeadsToTheEnd(t *testing.T) {
	for from := State(0); from < Deleted; from++ {
		if !from.CanBecome(Stopped) && !from.CanBecome(Deleted) {
			t.Errorf("%s never ends", from)
		}
	}
}

func TestForbiddenChangeSaysWhatStateItIs(t *testing.T) {
	p := New("e", false, stdio.Paths{})
	err := p.To(Paused)
	if !errors.Is(err, ErrState) || !strings.Contains(err.Error(), "added") {
		t.Errorf("got %v", err)
	}
}

func TestWaitersAreWokenWhenTheProcessStopsOrNeverRan(t *testing.T) {
	ran := New("e", false, stdio.Paths{})
	for _, s := range []State{Starting, Running} {
		if err := ran.To(s); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-ran.Stopped():
		t.Fatal("stopped while it runs")
	default:
	}
	ran.Ended(reaper.Exit{Status: 3})
	if err := ran.To(Stopped); err != nil {
		t.Fatal(err)
	}
	<-ran.Stopped()
	if err := ran.To(Deleted); err != nil {
		t.Fatal(err)
	}

	never := New("e", false, stdio.Paths{})
	if err := never.To(Deleted); err != nil {
		t.Fatal(err)
	}
	<-never.Stopped()
	if never.HasEnded() {
		t.Error("what never ran has an end")
	}
}

func TestSignalSaysWhetherTheProcessIsYetToComeOrGone(t *testing.T) {
	p := New("e", false, stdio.Paths{})
	if err := p.Signal(9); !errors.Is(err, ErrState) {
		t.Errorf("before the start: %v, want ErrState", err)
	}
	p.Failed()
	if err := p.Signal(9); !errors.Is(err, ErrFinished) {
		t.Errorf("after the end: %v, want ErrFinished", err)
	}
	if p.Exit().Status != 255 {
		t.Errorf("an exec that never ran ended with %d, want 255", p.Exit().Status)
	}
}

func TestTerminalOfAnExecIsWhatContainerdAskedFor(t *testing.T) {
	got, err := WithTerminal([]byte(`{"args":["sh"],"terminal":true,"cwd":"/"}`), false)
	if err != nil || string(got) != `{"args":["sh"],"cwd":"/","terminal":false}` {
		t.Errorf("%s, %v", got, err)
	}
	for _, bad := range []string{"", "null", "[]", "{", `"x"`} {
		if _, err := WithTerminal([]byte(bad), true); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSizeOfAnExecsTerminalIsInItsSpec(t *testing.T) {
	got, err := withSize([]byte(`{"consoleSize":{"height":1,"width":1},"args":["sh"]}`), 80, 25)
	if err != nil || string(got) != `{"args":["sh"],"consoleSize":{"height":25,"width":80}}` {
		t.Errorf("%s, %v", got, err)
	}
}

func FuzzWithTerminal(f *testing.F) {
	f.Add([]byte(`{"args":["sh"],"terminal":true}`), true)
	f.Add([]byte(`null`), false)
	f.Fuzz(func(t *testing.T, spec []byte, terminal bool) {
		got, err := WithTerminal(spec, terminal)
		if err != nil {
			return
		}
		again, err := WithTerminal(got, terminal)
		if err != nil || string(again) != string(got) {
			t.Errorf("%q gave %q, and that %q, %v", spec, got, again, err)
		}
	})
}
