package events

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	pb "google.golang.org/protobuf/proto"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
)

// breaker is a daemon's end of the way, byte by byte: it takes an event on each
// connection and breaks off in another way each time, until it has none left.
type breaker struct {
	mu    sync.Mutex // guards everything below
	ways  []func(conn net.Conn, stream uint32)
	tries int
	took  []uint32 // the pids of the exits
}

const header = 10 // length, stream, type, flags

func frame(length, stream uint32, kind byte) []byte {
	b := make([]byte, header)
	binary.BigEndian.PutUint32(b, length)
	binary.BigEndian.PutUint32(b[4:], stream)
	b[8] = kind
	return b
}

const response = 2

func (b *breaker) serve(conn net.Conn) {
	defer conn.Close()
	for {
		head := make([]byte, header)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head))
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		var (
			request ttrpc.Request
			forward events.ForwardRequest
			exit    events.TaskExit
		)
		if pb.Unmarshal(body, &request) != nil || forward.Unmarshal(request.Payload) != nil || proto.Unpack(forward.Envelope.Event, &exit) != nil {
			return
		}
		stream := binary.BigEndian.Uint32(head[4:])
		b.mu.Lock()
		b.took = append(b.took, exit.Pid)
		b.tries++
		var way func(net.Conn, uint32)
		if len(b.ways) > 0 {
			way, b.ways = b.ways[0], b.ways[1:]
		}
		b.mu.Unlock()
		if way != nil {
			way(conn, stream)
			return
		}
		if _, err := conn.Write(frame(0, stream, response)); err != nil {
			return
		}
	}
}

// However a daemon breaks off, each event comes to it, in order, and again only
// where its answer was lost.
func TestADaemonThatBreaksOffInTheMiddleIsToldAll(t *testing.T) {
	write := func(b ...byte) func(net.Conn, uint32) {
		return func(conn net.Conn, _ uint32) { _, _ = conn.Write(b) }
	}
	b := &breaker{ways: []func(net.Conn, uint32){
		func(net.Conn, uint32) {}, // took it and is gone
		write(frame(0, 1, response)[:5]...),
		write(append(frame(4, 1, response), 1, 2)...),
		write(append(frame(4, 1, response), 0xff, 0xff, 0xff, 0xff)...), // no message
		write(frame(0xffffffff, 1, response)...),
		write(frame(0, 7, response)...), // to a question nobody asked
		write(frame(0, 1, 99)...),
		write(make([]byte, 4096)...),
	}}
	ways := len(b.ways)
	path := socket(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		first := true
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if first {
				first = false
				conn.Close() // before anything was said
				continue
			}
			go b.serve(conn)
		}
	}()
	q := New("ns", NewForward(path), log.Discard())
	defer q.Close()
	const exits = 20
	publish(q, 0, exits)
	flush(t, q)
	b.mu.Lock()
	defer b.mu.Unlock()
	next := uint32(0)
	for i, pid := range b.took {
		switch {
		case pid == next:
			next++
		case i > 0 && pid == b.took[i-1]:
		default:
			t.Fatalf("told %v", b.took)
		}
	}
	if next != exits || len(b.took) != exits+ways {
		t.Errorf("told %d exits in %d tries, want %d in %d: %v", next, len(b.took), exits, exits+ways, b.took)
	}
}

// Nothing that publishes knows of the daemon's state: this is who it must not wait
// for, and what is waiting is not the queue's either.
func TestPublishingIsDoneWhileTheDaemonReadsNothing(t *testing.T) {
	path := socket(t)
	l, err := net.Listen("unix", path) // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	q := New("ns", NewForward(path), log.Discard())
	done := make(chan struct{})
	go func() {
		publish(q, 0, 10_000) // more than a socket's buffer takes
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("publishing waits for a daemon that reads nothing")
	}
	if n := q.Len(); n != 10_000 {
		t.Errorf("%d wait", n)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
