package main

import (
	"net"
	"sync"
	"time"
)

// abandonLimit is how long a shim without a container waits for a daemon. It
// is long for one that is being restarted, and ends the shim of a daemon that
// died between `start` and Create (containerd 6860): nobody else knows of it.
const abandonLimit = time.Minute

// attendance is a listener that knows whether anybody is there: containerd
// keeps a connection to every shim it knows.
type attendance struct {
	net.Listener
	limit time.Duration
	gone  func()

	mu    sync.Mutex // guards the fields below
	open  int
	timer *time.Timer // runs while nobody is connected
}

// attend watches over l. gone is called, on a goroutine of its own, each time
// nobody has been connected for limit, also if nobody ever was.
func attend(l net.Listener, limit time.Duration, gone func()) *attendance {
	a := &attendance{Listener: l, limit: limit, gone: gone}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(limit, a.left)
	return a
}

func (a *attendance) left() {
	a.mu.Lock()
	nobody := a.open == 0
	a.mu.Unlock()
	if nobody {
		a.gone()
	}
}

// Accept counts the connection until its Close.
func (a *attendance) Accept() (net.Conn, error) {
	conn, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open++
	a.timer.Stop()
	return &visit{Conn: conn, a: a}, nil
}

// visit is one connection.
type visit struct {
	net.Conn
	a    *attendance
	once sync.Once
}

// Close ends the visit.
func (v *visit) Close() error {
	err := v.Conn.Close()
	v.once.Do(func() {
		v.a.mu.Lock()
		defer v.a.mu.Unlock()
		if v.a.open--; v.a.open == 0 {
			v.a.timer.Reset(v.a.limit)
		}
	})
	return err
}
