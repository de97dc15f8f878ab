package task

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-shim/holdfast/tests/scenario"
)

// The scenarios are played in a bubble of package synctest: its clock stands still
// while anything can happen, so that "all is quiet" is a fact and no guess, and an
// absence of hours takes no time.

// memory is where the bundles of stories are.
const memory = "/dev/shm"

// tell plays one story in a world of its own. next gives the lines, "" at the end.
// It returns the story so far as blocks and what was wrong, "" if nothing was.
func tell(t *testing.T, watch *watchdog, next func(*player) []string) (blocks []scenario.Block, wrong string) {
	t.Helper()
	dir, err := os.MkdirTemp(memory, "scenario")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		p := newPlayer(dir)
		defer p.close()
		for {
			lines := next(p)
			if lines == nil {
				break
			}
			watch.now(append(blocks, scenario.Block{Commands: lines}))
			blocks = append(blocks, scenario.Block{Commands: lines, Result: p.play(lines)})
			if wrong = p.j.verdict(); wrong != "" {
				return
			}
		}
		p.finish()
		wrong = p.j.verdict()
	})
	return blocks, wrong
}

// watchdog tells the story that has come to a stand: a lock that is held over
// something that waits is not quiet, so the bubble never ends.
type watchdog struct {
	story atomic.Pointer[[]scenario.Block] // another one with each step
}

// newWatchdog is for the outside of the bubbles: what it goes by is real time.
func newWatchdog(t *testing.T) *watchdog {
	w := new(watchdog)
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		var story *[]scenario.Block
		for story == nil || story != w.story.Load() {
			story = w.story.Load()
			select {
			case <-time.After(patience):
			case <-stop:
				return
			}
		}
		fmt.Fprintf(os.Stderr, "it is stuck, a lock is held over something that waits:\n%s\n", scenario.Format(*story))
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		os.Exit(1)
	}()
	return w
}

func (w *watchdog) now(story []scenario.Block) {
	w.story.Store(&story)
}

// TestScenarios plays the files. HOLDFAST_REWRITE=1 writes into them what happens,
// to be read before it is committed.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := scenario.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			got, wrong := retell(t, want)
			if wrong != "" {
				t.Errorf("%s: %s", file, wrong)
			}
			if os.Getenv("HOLDFAST_REWRITE") != "" {
				if err := os.WriteFile(file, []byte(scenario.Format(got)), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for i, b := range got {
				if g, w := strings.Join(b.Result, "\n"), strings.Join(want[i].Result, "\n"); g != w {
					t.Errorf("%s:%d: %s\ngot:\n%s\nwant:\n%s", file, want[i].Line, strings.Join(b.Commands, "; "), g, w)
				}
			}
		})
	}
}

// retell plays a story again.
func retell(t *testing.T, story []scenario.Block) (got []scenario.Block, wrong string) {
	t.Helper()
	i := 0
	played, wrong := tell(t, newWatchdog(t), func(*player) []string {
		for i < len(story) {
			if i++; len(story[i-1].Commands) > 0 {
				return story[i-1].Commands
			}
		}
		return nil
	})
	for _, b := range story {
		if len(b.Commands) > 0 && len(played) > 0 {
			b.Result = played[0].Result
			played = played[1:]
		}
		got = append(got, b)
	}
	return got, wrong
}

// TestThousandsOfStories makes stories up: HOLDFAST_SEEDS of them (2,000), from
// HOLDFAST_SEED (1) on. One that breaks a promise is made as short as it goes and
// printed, to be put into a file beside the others.
func TestThousandsOfStories(t *testing.T) {
	seeds, first := fromEnv(t, "HOLDFAST_SEEDS", 2000), fromEnv(t, "HOLDFAST_SEED", 1)
	watch := newWatchdog(t)
	steps := 0
	for seed := first; seed < first+seeds; seed++ {
		story, wrong := madeUp(t, watch, seed)
		steps += len(story)
		if wrong == "" {
			continue
		}
		// Before anything else: if the story is not over for good, the bubble panics.
		fmt.Fprintf(os.Stderr, "seed %d: %s\n", seed, wrong)
		short, wrong := shorten(t, watch, story, wrong)
		t.Fatalf("seed %d: %s\n\n%s", seed, wrong, scenario.Format(short))
	}
	t.Logf("%d stories of %d steps", seeds, steps)
}

func fromEnv(t *testing.T, name string, usual int) int {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		return usual
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		t.Fatalf("%s=%q: want a number", name, value)
	}
	return n
}

func madeUp(t *testing.T, watch *watchdog, seed int) ([]scenario.Block, string) {
	t.Helper()
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	left := 10 + random.IntN(50)
	asked := -1 // how many lines are left when a signal comes: in every tenth story
	if seed%10 == 9 {
		asked = random.IntN(left)
	}
	return tell(t, watch, func(p *player) []string {
		if left == 0 {
			return nil
		}
		lines := []string{}
		if left <= asked {
			lines, asked = append(lines, "& retire"), -1
		}
		for {
			line := (&teller{random, p}).next()
			lines = append(lines, line)
			if left > 0 {
				left--
			}
			if !strings.HasPrefix(line, "& ") {
				return lines
			}
		}
	})
}

// shorten leaves out of a story what is not needed to break the same promise.
func shorten(t *testing.T, watch *watchdog, story []scenario.Block, wrong string) ([]scenario.Block, string) {
	t.Helper()
	var lines []string
	for _, b := range story {
		lines = append(lines, b.Commands...)
	}
	for size := len(lines) / 2; size > 0; {
		shorter := false
		for at := 0; at+size <= len(lines); {
			left := slices.Concat(lines[:at], lines[at+size:])
			i := 0
			played, w := tell(t, watch, func(*player) (some []string) {
				for i < len(left) {
					some = append(some, left[i])
					if i++; !strings.HasPrefix(left[i-1], "& ") {
						break
					}
				}
				return some
			})
			if w != "" {
				lines, story, wrong, shorter = left, played, w, true
			} else {
				at += size
			}
		}
		if !shorter {
			size /= 2
		}
	}
	return story, wrong
}

// containerd 13849, 13544: a consumer that stalls for three seconds costs no exit.
func TestFiveHundredExitsWhileTheDaemonStalls(t *testing.T) {
	const execs = 500
	story := [][]string{{"create c1", "start c1", "daemon stalls"}}
	for i := range execs {
		exec := fmt.Sprintf("e%d", i)
		story = append(story, []string{"exec c1 " + exec, "start c1 " + exec, "exit c1 " + exec + " 0"})
	}
	story = append(story, []string{"advance 3s"}, []string{"daemon takes"})
	_, wrong := tell(t, newWatchdog(t), func(p *player) []string {
		if len(story) > 0 {
			lines := story[0]
			story = story[1:]
			return lines
		}
		exits := 0
		for _, e := range p.d.took {
			if strings.HasPrefix(e, "exit c1 e") {
				exits++
			}
		}
		if exits != execs || p.d.tries != len(p.d.took) {
			t.Errorf("%d exits came, want %d; %d events in %d tries", exits, execs, len(p.d.took), p.d.tries)
		}
		return nil
	})
	if wrong != "" {
		t.Error(wrong)
	}
}

// What a daemon that takes no events and goes on asking is told, so that the queue
// has a bound: nothing new begins, and everything that has begun can end.
func TestAFullQueueBeginsNothingNewAndEndsEverything(t *testing.T) {
	steps := [][]string{{"create c1", "start c1", "exec c1 e1", "daemon away"}, nil, {
		"create c2", "exec c1 e2", "pause c1", "checkpoint c1",
		"start c1 e1", "state c1", "pids c1", "exit c1 e1 3", "exit c1 4", "delete c1 e1", "delete c1",
	}, {"daemon takes", "advance 1s"}, {"create c2", "shutdown"}}
	story, wrong := tell(t, newWatchdog(t), func(p *player) []string {
		if len(steps) == 0 {
			return nil
		}
		lines := steps[0]
		steps = steps[1:]
		if lines == nil {
			p.j.full = true
			return []string{"state c1"}
		}
		if lines[0] == "daemon takes" {
			p.j.full = false
		}
		return lines
	})
	if wrong != "" {
		t.Error(wrong)
	}
	var got []string
	for _, line := range story[2].Result {
		what, answer, _ := strings.Cut(line, ": ")
		code, _, _ := strings.Cut(answer, ":")
		got = append(got, what+": "+code)
	}
	want := []string{
		"create c2: Unavailable", "exec c1 e2: Unavailable", "pause c1: Unavailable", "checkpoint c1: Unavailable",
		"start c1 e1: pid 2", "state c1: running", "pids c1: 1 2", "delete c1 e1: status 3", "delete c1: status 4",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if last := story[4].Result; len(last) == 0 || !strings.HasPrefix(last[len(last)-2], "create c2: pid") {
		t.Errorf("when the events were taken: %q", last)
	}
}
