package frame

import (
	"context"
	"sync"
)

// due counts the requests of a connection that are not answered yet. Ttrpc's server
// (1.2) takes a connection for idle until it has answered something while another
// request was under way, and an idle one is closed when the server is told to end,
// together with the answer that it has just been handed.
type due struct {
	out     headers // follows what is sent; for the sender alone, as is the next
	sending int     // answers of which the last byte was not sent yet

	mu      sync.Mutex // guards what is below
	count   int
	ended   bool  // there will be no more answers
	settled latch // opened when there is nothing to wait for
}

// asked notes a request, before the server gets it.
func (d *due) asked() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
}

// sent notes the next piece of what the peer gets.
func (d *due) sent(p []byte) {
	for at := 0; at < len(p); {
		n, whole := d.out.step(p[at:])
		if at += n; whole && d.out.kind == typeResponse {
			d.sending++
		}
	}
	if d.sending == 0 || d.out.within() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count -= d.sending
	d.sending = 0
	d.tell()
}

// end notes the connection's end.
func (d *due) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.tell()
}

// tell wakes who waits, if it is time. The lock is held.
func (d *due) tell() {
	if d.isSettled() {
		d.settled.open()
	}
}

func (d *due) isSettled() bool { return d.count <= 0 || d.ended }

// wait returns when nothing is due, or ctx is done.
func (d *due) wait(ctx context.Context) {
	d.mu.Lock()
	if d.isSettled() {
		d.mu.Unlock()
		return
	}
	settled := d.settled.wait()
	d.mu.Unlock()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}
