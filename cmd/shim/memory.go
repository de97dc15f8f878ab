package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/thread"
)

const (
	// gcPercent is low: a shim sleeps for months, and a small heap is worth more
	// to it than quick allocation.
	gcPercent = 40
	// quietAfter is how long no request must have ended for the shim to be
	// quiet, and tidyEvery how rarely it tidies up at the most: exec probes come
	// every few seconds for ever.
	quietAfter = time.Second
	tidyEvery  = 10 * time.Second
	// tidyWithin is how long requests may put it off that come one after the other
	// for ever, as a pod's probes do.
	tidyWithin = 30 * time.Second
	// tidyFor is how much must have been allocated since the last time. The start
	// of a container takes half of it.
	tidyFor = 512 << 10
	// collectAt is how much work makes a garbage collection worth it: a request
	// counts one, and launch for those that run the runtime, which make some 15 KB
	// of garbage. Left to itself the Go runtime waits for a MiB, and what has come
	// to stay lies scattered in that. A collection takes some 0.3 ms of a processor,
	// a run of the OCI runtime fifty times that.
	collectAt = 16
	launch    = 4
	// idleThreads is what an idle shim has: its first thread, the Go runtime's
	// monitor and the one that makes others, two for signals, one that waits in the
	// poller, and one in reserve. While a machine has no pids left (a container's fork
	// bomb), the shim stands still when the Go runtime wants another thread, as two
	// requests at once may have it do. So it is there from the beginning, and is not
	// ended.
	idleThreads = 7
)

// tidy gives memory and threads back to the system when the shim has worked and
// falls quiet, or has not been quiet for long. The Go runtime would keep what the work
// took until the next work, which may be long after, and the threads for ever; and it
// collects no garbage before there is a MiB of it.
type tidy struct {
	mu    sync.Mutex  // guards what is below
	work  int         // since the last garbage collection
	timer *time.Timer // nil before the first request
	last  time.Time   // when memory was last given back
	since time.Time   // when the first request after a quiet moment ended; zero when there was none

	allocated uint64 // as of then
}

// call serves a request and notes that there was one.
func (t *tidy) call(ctx context.Context, decode ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	work := 1
	if strings.HasSuffix(info.FullMethod, "/Start") || strings.HasSuffix(info.FullMethod, "/Create") {
		work = launch
	}
	defer t.worked(work)
	return method(ctx, decode)
}

func (t *tidy) worked(work int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.work += work; t.work >= collectAt {
		t.work = 0
		go runtime.GC()
	}
	if t.since.IsZero() {
		t.since = time.Now()
	}
	wait := max(quietAfter, time.Until(t.last.Add(tidyEvery)))
	wait = min(wait, time.Until(t.since.Add(tidyWithin)))
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.up)
		return
	}
	t.timer.Reset(wait)
}

func (t *tidy) up() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if !t.due(m.TotalAlloc) {
		return
	}
	thread.EndIdle(idleThreads)
	debug.FreeOSMemory()
}

// due reports whether it is worth it, with that much allocated since the beginning.
func (t *tidy) due(allocated uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.since = time.Time{}
	if allocated < t.allocated+tidyFor {
		return false
	}
	t.allocated, t.last = allocated, time.Now()
	return true
}
