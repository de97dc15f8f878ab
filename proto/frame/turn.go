package frame

import (
	"sync"
	"time"
)

// turn has answers wait until the server reads on, so that it does not grow with
// every few hundred calls.
//
// Ttrpc's server (1.2) enters a request in a table of its connection's after it
// has begun to answer it, and strikes it off when the answer is sent. Where the
// answer is the faster of the two, the entry stays as long as the connection
// (ttrpc issue 236), which is containerd's and lasts for months. The server enters
// a request before it reads on.
type turn struct {
	mu      sync.Mutex // guards what is below
	reading bool       // a Read is under way, or there will be none any more
	turned  latch      // opened when reading becomes true
}

// readLimit bounds the wait. A server that has to refuse a request of the wrong
// form does not read on before its refusal is written, which then waits in vain.
const readLimit = 20 * time.Millisecond

// begin says that the server reads.
func (t *turn) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = true
	t.turned.open()
}

// end says that it has read something; after the last Read it is not called.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reading = false
}

// wait returns when the server reads.
func (t *turn) wait() {
	t.mu.Lock()
	if t.reading {
		t.mu.Unlock()
		return
	}
	turned := t.turned.wait()
	t.mu.Unlock()
	limit := time.NewTimer(readLimit)
	defer limit.Stop()
	select {
	case <-turned:
	case <-limit.C:
	}
}
