package bootstrap

import (
	"context"
	"net"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto/frame"
)

const (
	// maxConns is how many connections a shim has open at most. Containerd has one
	// for each container.
	maxConns = 1024
	// connShare is what part of the descriptors that the process may have is for
	// connections: the rest is for containers.
	connShare = 4
)

// connLimit is maxConns, or less where the process may have few descriptors.
func connLimit() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return maxConns
	}
	return int(max(1, min(maxConns, r.Cur/connShare)))
}

// conns is what a listener has accepted and nobody has closed. Where there are as
// many as there may be, a new one takes the place of the one that has been silent
// for longest, which is nobody's that containerd depends on: containerd speaks as
// soon as it has connected. If all have spoken, the new one has to go. Nothing is
// ever closed for the time it takes.
type conns struct {
	limit int

	mu   sync.Mutex    // guards open
	open []*frame.Conn // the oldest first
}

// admit returns c with what a ttrpc server needs. It may be closed already.
func (s *conns) admit(c net.Conn) *frame.Conn {
	var g *frame.Conn
	g = frame.New(c, func() { s.remove(g) })
	s.mu.Lock()
	var out *frame.Conn
	if len(s.open) >= s.limit {
		out = g
		for _, o := range s.open {
			if !o.Heard() {
				out = o
				break
			}
		}
	}
	s.open = append(s.open, g)
	s.mu.Unlock()
	if out != nil {
		_ = out.Close()
	}
	return g
}

func (s *conns) remove(g *frame.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.open, g); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// settle returns when all that is open now has settled, or ctx is done.
func (s *conns) settle(ctx context.Context) {
	s.mu.Lock()
	open := slices.Clone(s.open)
	s.mu.Unlock()
	for _, c := range open {
		c.Settle(ctx)
	}
}
