package frame

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// A server that writes its answer before it reads on has not entered the request
// yet that it answers (ttrpc 236).
func TestAnAnswerWaitsUntilTheServerReadsOn(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := New(here, nil)
	defer c.Close()
	go there.Write([]byte("?"))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write([]byte("!"))
		wrote <- err
	}()
	// Written or not is seen by who would read it.
	_ = there.SetReadDeadline(time.Now().Add(readLimit / 4))
	if n, err := there.Read(make([]byte, 1)); n > 0 || !errors.Is(err, errTimeout(err)) {
		t.Fatalf("the answer came before the server read on: %d, %v", n, err)
	}
	_ = there.SetReadDeadline(time.Now().Add(patience))
	go c.Read(make([]byte, 1))
	if n, err := there.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("no answer: %d, %v", n, err)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

const patience = 30 * time.Second

// errTimeout is err if it is a time-out.
func errTimeout(err error) error {
	if t, ok := err.(net.Error); ok && t.Timeout() {
		return err
	}
	return io.ErrUnexpectedEOF
}

func TestAnAnswerIsWrittenInTheEndThoughTheServerDoesNotReadOn(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	c := New(here, nil)
	defer c.Close()
	go c.Write([]byte("!"))
	if n, err := there.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("no answer: %d, %v", n, err)
	}
}

func TestAnAnswerDoesNotWaitForAServerThatCannotRead(t *testing.T) {
	here, there := net.Pipe()
	c := New(here, nil)
	there.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("read from nobody")
	}
	if !c.turn.reading {
		t.Error("answers wait for a reader that has given up")
	}
}

// framing accepts what a server can bear.
type framing struct{ net.Listener }

func (f framing) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return New(c, nil), nil
}

// connects answers Connect.
type connects struct{ task.Service }

func (connects) Connect(context.Context, *task.ConnectRequest) (*task.ConnectResponse, error) {
	return &task.ConnectResponse{ShimPid: 1}, nil
}

// With ttrpc alone some hundred objects are left of so many calls.
func TestCallsLeaveNothingInTheServer(t *testing.T) {
	const calls, few, rounds = 30000, 40, 4
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	task.Register(server, connects{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.Serve(context.Background(), framing{l})
	}()
	raw, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	connection := ttrpc.NewClient(raw)
	client := task.NewClient(connection, 3)
	call := func(n int) {
		for range n {
			if _, err := client.Connect(context.Background(), &task.ConnectRequest{Id: "c"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What grows once, as the runtime's own tables do, is no leak.
	var grown []int64
	for range rounds {
		before := objects()
		call(calls)
		grown = append(grown, objects()-before)
	}
	if slices.Min(grown) > few {
		t.Errorf("%d calls have left %d objects each time", calls, grown)
	}
	if err := errors.Join(connection.Close(), server.Close()); err != nil {
		t.Error(err)
	}
	<-served
}

// objects counts what is alive on the heap.
func objects() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first has only let go of, as from pools
	runtime.ReadMemStats(&m)
	return int64(m.HeapObjects)
}
