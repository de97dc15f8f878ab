package bootstrap

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/frame"
)

// peer is the other end of a connection that was given to a set.
type peer struct {
	far  net.Conn
	near *frame.Conn
}

func admitPeer(t *testing.T, s *conns) peer {
	t.Helper()
	far, near := net.Pipe()
	t.Cleanup(func() { far.Close() })
	return peer{far, s.admit(near)}
}

// speak sends a whole header.
func (p peer) speak(t *testing.T) {
	t.Helper()
	go p.far.Write(make([]byte, 10))
	if _, err := io.ReadFull(p.near, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
}

// closed reports whether the shim's side is closed.
func (p peer) closed() bool {
	// A write to a pipe whose other end is open would wait for its reader.
	errs := make(chan error, 1)
	go func() {
		_, err := p.far.Write([]byte{0})
		errs <- err
	}()
	if _, err := p.near.Read(make([]byte, 1)); err == nil {
		<-errs
		return false
	}
	return errors.Is(<-errs, io.ErrClosedPipe)
}

func TestOneConnectionTooManyTakesThePlaceOfTheOldestThatWasSilent(t *testing.T) {
	s := &conns{limit: 3}
	spoke, silent, silentToo := admitPeer(t, s), admitPeer(t, s), admitPeer(t, s)
	spoke.speak(t)
	next := admitPeer(t, s)
	if !silent.closed() {
		t.Error("the oldest silent one stays")
	}
	if spoke.closed() || silentToo.closed() || next.closed() {
		t.Error("another one was closed")
	}
}

func TestOneConnectionTooManyHasToGoWhereAllHaveSpoken(t *testing.T) {
	s := &conns{limit: 2}
	a, b := admitPeer(t, s), admitPeer(t, s)
	a.speak(t)
	b.speak(t)
	if !admitPeer(t, s).closed() {
		t.Error("one more than the limit is open")
	}
	if a.closed() || b.closed() {
		t.Error("one that has spoken was closed")
	}
	if err := a.near.Close(); err != nil {
		t.Fatal(err)
	}
	if c := admitPeer(t, s); c.closed() {
		t.Error("the place of a closed one is not given to the next")
	}
	if n := len(s.open); n != 2 {
		t.Errorf("%d are counted", n)
	}
}

func TestMostDescriptorsAreNotForConnections(t *testing.T) {
	if n := connLimit(); n < 1 || n > maxConns {
		t.Errorf("limit %d", n)
	}
}
