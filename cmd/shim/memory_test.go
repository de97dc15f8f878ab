package main

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// garbage keeps the compiler from seeing that what is allocated is for nothing.
var garbage []byte

// forced is the number of garbage collections that somebody asked for.
func forced() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumForcedGC
}

func TestMemoryIsGivenBackWhenTheShimFallsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tidy := new(tidy)
		after := func(d time.Duration) uint32 {
			time.Sleep(d)
			synctest.Wait()
			return forced()
		}
		garbage = make([]byte, 2*tidyFor)
		before := forced()
		tidy.worked(1)
		if n := after(quietAfter / 2); n != before {
			t.Error("not quiet yet, and it tidied up")
		}
		tidy.worked(1)
		if n := after(quietAfter * 3 / 4); n != before {
			t.Error("a request did not put it off")
		}
		if n := after(quietAfter); n != before+1 {
			t.Errorf("quiet: tidied up %d times, want once", n-before)
		}

		garbage = make([]byte, 2*tidyFor)
		tidy.worked(1)
		if n := after(tidyEvery / 2); n != before+1 {
			t.Error("it tidied up again too soon")
		}
		if n := after(tidyEvery); n != before+2 {
			t.Errorf("quiet again: tidied up %d times, want twice", n-before)
		}

		tidy.worked(1)
		if n := after(2 * tidyEvery); n != before+2 {
			t.Error("it tidied up where next to nothing was allocated")
		}
	})
}

func TestMemoryIsGivenBackByAShimThatIsNeverQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tidy := new(tidy)
		before := forced()
		for begun := time.Now(); time.Since(begun) < 10*tidyWithin; time.Sleep(quietAfter / 2) {
			garbage = make([]byte, tidyFor)
			tidy.mu.Lock()
			tidy.work = 0 // so that collections are tidy's own
			tidy.mu.Unlock()
			tidy.worked(1)
		}
		synctest.Wait()
		if n := forced() - before; n < 8 || n > 10 {
			t.Errorf("it tidied up %d times, want every %v of %v", n, tidyWithin, 10*tidyWithin)
		}
		time.Sleep(tidyEvery)
		synctest.Wait()
	})
}

func TestWorkIsFollowedByAGarbageCollection(t *testing.T) {
	tidy := new(tidy)
	before := forced()
	for range collectAt / launch {
		tidy.worked(launch)
	}
	deadline := time.Now().Add(time.Minute)
	for forced() == before {
		if time.Now().After(deadline) {
			t.Fatalf("%d starts, and no garbage was collected", collectAt/launch)
		}
		runtime.Gosched()
	}
	tidy.mu.Lock()
	tidy.timer.Stop()
	tidy.mu.Unlock()
}
