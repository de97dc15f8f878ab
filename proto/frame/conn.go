package frame

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Conn is an accepted connection as a ttrpc server without streams can bear it:
//
//   - No frame of data gets through. Ttrpc 1.2 keeps a nil stream for every call
//     that is under way, and one such frame to it is a nil dereference that ends
//     the process, and with it the watch over all containers.
//   - What a peer asks is read only as fast as it takes the answers. Ttrpc has a
//     goroutine for every request, and all of them would wait for a peer that
//     sends and never reads.
//   - An answer is not sent before the server reads on, see turn.
//   - Whatever ends the reading ends the connection. Ttrpc keeps one alive whose
//     error it does not know.
//
// It stays open as long as its peer likes, also when it is idle or its peer is
// stopped: containerd takes a connection's end for the shim's.
type Conn struct {
	net.Conn
	in     headers
	turn   turn
	heard  atomic.Bool   // a whole header has come
	answer chan struct{} // holds a token, but while an answer is on its way to the peer
	ended  func()        // called once, by Close
	once   sync.Once
}

// New takes c over. ended, which may be nil, is called when it was closed.
func New(c net.Conn, ended func()) *Conn {
	g := &Conn{Conn: c, answer: make(chan struct{}, 1), ended: ended}
	g.answer <- struct{}{}
	return g
}

// Read is for one goroutine. All its errors are io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.turn.begin()
	c.answer <- <-c.answer
	n, err := c.Conn.Read(p)
	if c.in.pass(p[:n]) {
		c.heard.Store(true)
	}
	if err != nil {
		return n, io.EOF
	}
	c.turn.end()
	return n, nil
}

// Write is for one goroutine.
func (c *Conn) Write(p []byte) (int, error) {
	c.turn.wait()
	token := <-c.answer
	defer func() { c.answer <- token }()
	return c.Conn.Write(p)
}

// Close ends the connection. A second Close does nothing.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		if c.ended != nil {
			c.ended()
		}
	})
	return err
}

// Heard reports whether the peer has sent a whole header of a frame, be it good or bad.
func (c *Conn) Heard() bool { return c.heard.Load() }
