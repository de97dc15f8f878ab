package thread

import (
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// kept are the threads that must not end.
var kept struct {
	mu    sync.Mutex
	count map[int]int // how often Keep was called, by thread id; no zeros
}

// Keep sees to it that the calling thread does not end before free is called, once.
// The goroutine must be locked to it meanwhile, but may be unlocked then.
func Keep() (free func()) {
	id := unix.Gettid()
	kept.mu.Lock()
	defer kept.mu.Unlock()
	if kept.count == nil {
		kept.count = make(map[int]int)
	}
	kept.count[id]++
	return func() {
		kept.mu.Lock()
		defer kept.mu.Unlock()
		if kept.count[id]--; kept.count[id] == 0 {
			delete(kept.count, id)
		}
	}
}

// Last runs f on a thread that nothing depends on, as the last thing that this thread
// does: f may change what is the thread's own and cannot be changed back.
func Last(f func() error) error {
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if mayEnd(unix.Gettid()) {
			errs <- f()
			return
		}
		// While this goroutine has the thread, that one gets another.
		errs <- Last(f)
		runtime.UnlockOSThread()
	}()
	return <-errs
}

// mayEnd is true for ever if the goroutine is locked to that thread: it cannot fork.
func mayEnd(id int) bool {
	kept.mu.Lock()
	defer kept.mu.Unlock()
	return id != unix.Getpid() && kept.count[id] == 0
}

// Reserve makes threads until there are n. When the kernel has none to give this
// process stands still, and with a Go runtime as it comes it ends: Reserve is for a
// moment when either would do no harm.
func Reserve(n int) {
	var done sync.WaitGroup
	busy, free := make(chan struct{}), make(chan struct{})
	for range n {
		if Count() >= n {
			break
		}
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			busy <- struct{}{}
			<-free // who has a thread to himself keeps it while he waits
		})
		<-busy
	}
	close(free)
	done.Wait()
}

// EndIdle ends threads until there are n, or as many as may not end or are at work.
// The Go runtime itself keeps all that it once needed, with their stacks.
func EndIdle(n int) {
	for excess := Count() - n; excess > 0; excess-- {
		_ = Last(func() error { return nil })
	}
}

// Count is how many threads this process has, 0 where that is not to be known.
func Count() int {
	var st unix.Stat_t
	if unix.Stat("/proc/self/task", &st) != nil {
		return 0
	}
	return max(int(st.Nlink)-2, 0) // of a directory of threads
}
