package frame_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/holdfast-shim/holdfast/proto/frame"
)

const patience = 30 * time.Second

// guarded gives every connection to the server.
type guarded struct {
	net.Listener
	ended chan struct{} // gets a token for each connection that has ended
}

func (g guarded) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return frame.New(c, func() { g.ended <- struct{}{} }), nil
}

// server serves `test`: Echo answers at once, Wait when its client is gone.
type server struct {
	path    string
	ended   chan struct{}
	waiting chan struct{} // gets a token for each Wait that has begun
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{path: filepath.Join(t.TempDir(), "s"), ended: make(chan struct{}, 100), waiting: make(chan struct{}, 100)}
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	srv.RegisterService("test", &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Echo": func(context.Context, func(any) error) (any, error) {
			return &emptypb.Empty{}, nil
		},
		"Wait": func(ctx context.Context, _ func(any) error) (any, error) {
			s.waiting <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}})
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(t.Context(), guarded{l, s.ended}) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s
}

func (s *server) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo asks what is answered at once.
func (s *server) echo(t *testing.T) {
	t.Helper()
	c := ttrpc.NewClient(s.dial(t))
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Call(ctx, "test", "Echo", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("another client is not served: %v", err)
	}
}

func (s *server) wait(t *testing.T, what string, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(patience):
		t.Fatalf("%s: it did not happen", what)
	}
}

func message(typ byte, stream uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, typ, 0), body...)
}

func request(t *testing.T, stream uint32, method string) []byte {
	t.Helper()
	body, err := proto.Marshal(&ttrpc.Request{Service: "test", Method: method})
	if err != nil {
		t.Fatal(err)
	}
	return message(1, stream, body)
}

func send(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

func TestAFrameOfDataToACallThatIsUnderWayEndsNothing(t *testing.T) {
	s := serve(t)
	c := s.dial(t)
	send(t, c, request(t, 1, "Wait"))
	s.wait(t, "the call", s.waiting)
	send(t, c, message(3, 1, []byte("data")))
	// The server has passed over it when it answers what came after.
	send(t, c, request(t, 3, "Echo"))
	var head [10]byte
	if _, err := io.ReadFull(c, head[:]); err != nil || binary.BigEndian.Uint32(head[4:]) != 3 {
		t.Errorf("answered %x, %v", head, err)
	}
	s.echo(t)
}

func TestAPeerThatNeverReadsIsReadNoMore(t *testing.T) {
	s := serve(t)
	c := s.dial(t)
	one := request(t, 1, "Echo")
	var stream uint32 = 1
	// Until the kernel's buffers are full in both directions: the answers', since
	// nobody reads them, and then the requests', since the server has stopped.
	for {
		if err := c.SetWriteDeadline(time.Now().Add(3 * time.Second)); err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint32(one[4:], stream)
		if _, err := c.Write(one); err != nil {
			break
		}
		if stream += 2; stream > 1<<17 { // the kernel accounts for each with more than 256 bytes, of 416 KiB
			t.Fatalf("%d requests were taken from a peer that reads no answer", stream/2)
		}
	}
	s.echo(t)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "the end of the connection of the echo", s.ended)
	s.wait(t, "the end of the connection", s.ended)
}

func TestAPeerThatGoesAwayEndsItsConnectionWhereverItWas(t *testing.T) {
	s := serve(t)
	whole := append(request(t, 1, "Wait"), message(1, 3, make([]byte, 100))...)
	for _, n := range []int{0, 1, 4, 9, 10, 11, len(whole) - 1, len(whole)} {
		c := s.dial(t)
		send(t, c, whole[:n])
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		s.wait(t, "the end of the connection", s.ended)
	}
}

// A connection that is closed on this side, not by its peer.
func TestAConnectionThatIsClosedUnderTheServerEnds(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := frame.New(a, nil)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; !errors.Is(err, io.EOF) {
		t.Errorf("the server's read ends with %v, which it does not take for an end", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second close: %v", err)
	}
}

func TestAPeerIsHeardWithItsFirstWholeHeader(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := frame.New(a, nil)
	defer c.Close()
	buf := make([]byte, 100)
	for i := range 10 {
		if c.Heard() {
			t.Fatalf("heard after %d bytes", i)
		}
		go b.Write([]byte{0})
		if _, err := c.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Heard() {
		t.Error("not heard after a header")
	}
}
