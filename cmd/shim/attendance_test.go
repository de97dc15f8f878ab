package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

const patience = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func visitor(t *testing.T, a *attendance) (theirs, ours net.Conn) {
	t.Helper()
	theirs, err := net.Dial("unix", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err = a.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return theirs, ours
}

func TestShimThatNobodyEverCalledIsAbandoned(t *testing.T) {
	gone := make(chan struct{})
	attend(listen(t), time.Millisecond, func() { close(gone) })
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("nobody noticed")
	}
}

func TestShimIsNotAbandonedWhileSomebodyIsConnected(t *testing.T) {
	gone := make(chan struct{}, 10)
	a := attend(listen(t), time.Hour, func() { gone <- struct{}{} })
	_, first := visitor(t, a)
	_, second := visitor(t, a)
	first.Close()
	first.Close() // counts once
	a.left()      // as if the time had come
	select {
	case <-gone:
		t.Fatal("abandoned with somebody connected")
	default:
	}
	second.Close()
	a.left()
	select {
	case <-gone:
	default:
		t.Fatal("not abandoned with nobody connected")
	}
}

func TestTimeRunsAgainWhenTheLastConnectionEnds(t *testing.T) {
	gone := make(chan struct{}, 10)
	a := attend(listen(t), time.Hour, func() { gone <- struct{}{} })
	_, ours := visitor(t, a)
	a.mu.Lock()
	a.limit = time.Millisecond
	a.mu.Unlock()
	ours.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("nobody noticed that the daemon has gone")
	}
}
