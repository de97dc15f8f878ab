package frame

import (
	"context"
	"io"
	"net"
	"slices"
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
//     sends and never reads. There is no limit to how many requests may be under
//     way: a Wait is until the process ends.
//   - A message costs memory as it comes. Ttrpc makes room for all that a header
//     promises, up to 4 MiB.
//   - An answer is not sent before the server reads on, see turn.
//   - Ttrpc may close a connection before it has sent the last answer, see due.
//   - Whatever ends the reading ends the connection. Ttrpc keeps one alive whose
//     error it does not know.
//
// It stays open as long as its peer likes, also when it is idle or its peer is
// stopped: containerd takes a connection's end for the shim's.
type Conn struct {
	net.Conn
	in     headers
	turn   turn
	due    due
	heard  atomic.Bool   // a whole header has come
	answer chan struct{} // holds a token, but while an answer is on its way to the peer

	large uint32 // messages above this are held until they are whole
	held  []byte // what was read and not handed out, from the last byte of a large message's header on
	need  int    // how long held will be when the message is whole; 0 when none is held back

	ended func() // called once, by Close
	once  sync.Once
}

const (
	// large messages are few; what is smaller is not worth a second copy.
	large = 16 << 10
	// most is ttrpc's limit for a message. What is longer it passes over.
	most = 4 << 20
)

// New takes c over. ended, which may be nil, is called when it was closed.
func New(c net.Conn, ended func()) *Conn {
	g := &Conn{Conn: c, answer: make(chan struct{}, 1), in: headers{hide: true}, large: large, ended: ended}
	g.answer <- struct{}{}
	return g
}

// Read is for one goroutine. All its errors are io.EOF.
func (c *Conn) Read(p []byte) (int, error) {
	c.turn.begin()
	n, err := c.next(p)
	if err == nil {
		c.turn.end()
	}
	return n, err
}

// next hands out what has come, or waits for more.
func (c *Conn) next(p []byte) (int, error) {
	for len(p) > 0 {
		switch {
		case c.need > 0:
			if err := c.hold(); err != nil {
				return 0, err
			}
		case len(c.held) > 0:
			n := copy(p, c.held)
			if c.held = c.held[n:]; len(c.held) == 0 {
				c.held = nil
			}
			return n, nil
		default:
			n, err := c.receive(p)
			if n = c.look(p[:n]); n > 0 {
				return n, nil
			}
			if err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// receive reads from the peer, but while an answer is on its way to it.
func (c *Conn) receive(p []byte) (int, error) {
	c.answer <- <-c.answer
	n, err := c.Conn.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// look goes through what has come and returns how much of it may be handed out:
// all, or what is before the end of a header whose message is to be held. Without
// the header's last byte ttrpc does nothing.
func (c *Conn) look(p []byte) int {
	for at := 0; at < len(p); {
		n, whole := c.in.step(p[at:])
		if at += n; !whole {
			break
		}
		c.heard.Store(true)
		if c.in.kind == typeRequest {
			c.due.asked()
		}
		body := c.in.length
		if body <= c.large || body > most || int(body) <= len(p)-at {
			continue
		}
		c.held = append(c.held, p[at-1:]...)
		c.need = 1 + int(body)
		c.in.length = 0
		return at - 1
	}
	return len(p)
}

// hold reads on in the message that is held, no further than its end.
func (c *Conn) hold() error {
	if len(c.held) == cap(c.held) {
		c.held = slices.Grow(c.held, min(len(c.held), c.need-len(c.held)))
	}
	n, err := c.receive(c.held[len(c.held):min(cap(c.held), c.need)])
	c.held = c.held[:len(c.held)+n]
	if len(c.held) == c.need {
		c.need = 0
		return nil
	}
	return err
}

// Write is for one goroutine.
func (c *Conn) Write(p []byte) (int, error) {
	c.turn.wait()
	token := <-c.answer
	defer func() { c.answer <- token }()
	n, err := c.Conn.Write(p)
	c.due.sent(p[:n])
	return n, err
}

// Settle returns when every request that has been read is answered, the connection
// is closed, or ctx is done.
func (c *Conn) Settle(ctx context.Context) { c.due.wait(ctx) }

// Close ends the connection. A second Close does nothing.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.due.end()
		if c.ended != nil {
			c.ended()
		}
	})
	return err
}

// Heard reports whether the peer has sent a whole header of a frame, be it good or bad.
func (c *Conn) Heard() bool { return c.heard.Load() }
