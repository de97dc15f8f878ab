package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/ttrpc"
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
)

// tidy gives memory back to the system when the shim has worked and falls
// quiet. The Go runtime would keep what the work took until the next work, which
// may be long after; and it collects no garbage before there is a MiB of it.
type tidy struct {
	work atomic.Uint32 // since the last garbage collection

	mu    sync.Mutex  // guards the two below
	timer *time.Timer // nil before the first request
	last  time.Time   // when memory was last given back

	allocated uint64 // as of then; the timer's function alone uses it
}

// call serves a request and notes that there was one.
func (t *tidy) call(ctx context.Context, decode ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	work := uint32(1)
	if strings.HasSuffix(info.FullMethod, "/Start") || strings.HasSuffix(info.FullMethod, "/Create") {
		work = launch
	}
	defer t.worked(work)
	return method(ctx, decode)
}

func (t *tidy) worked(work uint32) {
	if t.work.Add(work) >= collectAt {
		t.work.Store(0)
		go runtime.GC()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := max(quietAfter, time.Until(t.last.Add(tidyEvery)))
	if t.timer == nil {
		t.timer = time.AfterFunc(wait, t.up)
		return
	}
	t.timer.Reset(wait)
}

func (t *tidy) up() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.TotalAlloc-t.allocated < tidyFor {
		return
	}
	t.allocated = m.TotalAlloc
	t.mu.Lock()
	t.last = time.Now()
	t.mu.Unlock()
	debug.FreeOSMemory()
}
