package task

import (
	"net"
	"sync"
	"time"
)

// Listener wraps what a ttrpc server accepts from, so that the server does not
// grow with every few hundred calls.
//
// ttrpc's server (1.2) enters a request in a table of its connection's after it
// has begun to answer it, and strikes it off when the answer is sent. Where the
// answer is the faster of the two, the entry stays as long as the connection
// (ttrpc issue 236), which is containerd's and lasts for months. The server enters
// a request before it reads on; so here an answer waits until the server does.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// readLimit bounds the wait. A server that has to refuse a request of the wrong
// form does not read on before its refusal is written, which then waits in vain.
const readLimit = 100 * time.Millisecond

// conn is a connection whose Write waits for a Read to be under way. It has one
// reader and one writer.
type conn struct {
	net.Conn

	mu      sync.Mutex    // guards what is below
	reading bool          // a Read is under way, or will never be again
	turned  chan struct{} // closed when reading becomes true; nil when nobody waits
}

func (c *conn) Read(p []byte) (int, error) {
	c.reads()
	n, err := c.Conn.Read(p)
	if err == nil {
		c.mu.Lock()
		c.reading = false
		c.mu.Unlock()
	}
	return n, err
}

func (c *conn) reads() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = true
	if c.turned != nil {
		close(c.turned)
		c.turned = nil
	}
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.reading {
		c.mu.Unlock()
		return c.Conn.Write(p)
	}
	if c.turned == nil {
		c.turned = make(chan struct{})
	}
	turned := c.turned
	c.mu.Unlock()
	limit := time.NewTimer(readLimit)
	defer limit.Stop()
	select {
	case <-turned:
	case <-limit.C:
	}
	return c.Conn.Write(p)
}
