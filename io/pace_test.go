package stdio

import (
	"testing"
	"time"
)

// paced counts the rests in moves of a stream that each come gap after the one
// before; size says what a move brings, which may depend on whether the relay
// rested before it.
func paced(moves int, gap time.Duration, size func(rested bool) int, much bool) (rests int) {
	var p pace
	now := time.Unix(1, 0)
	rested := false
	for range moves {
		now = now.Add(gap)
		if rested = p.due(now, size(rested), much); rested {
			rests++
			p.last = now
		}
	}
	return rests
}

func always(n int) func(bool) int { return func(bool) int { return n } }

func TestAFlowOfLinesRestsAgainAndAgain(t *testing.T) {
	lines := func(rested bool) int {
		if rested {
			return pageSize
		}
		return 100
	}
	// What gathers in a rest keeps the row going: after the first row each move
	// is followed by a rest.
	if n := paced(1000, time.Microsecond, lines, false); n < 800 {
		t.Errorf("rested %d times in 1000 moves", n)
	}
}

func TestAnExchangeOfMessagesHardlyRests(t *testing.T) {
	if n := paced(10_000, 20*time.Microsecond, always(100), false); n == 0 || n > 12 {
		t.Errorf("rested %d times in 10,000 messages, want a few at first and fewer and fewer then", n)
	}
}

func TestNobodyRestsWhoIsSlowOrNearlyFull(t *testing.T) {
	if n := paced(1000, quickGap, always(100), false); n != 0 {
		t.Errorf("a stream that is not quick rested %d times", n)
	}
	if n := paced(1000, time.Microsecond, always(bigPipe), true); n != 0 {
		t.Errorf("a stream whose writer could come to stand rested %d times", n)
	}
}
