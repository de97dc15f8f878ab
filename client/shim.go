package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// Shim is a connection to a running shim on behalf of one bundle. Containers of
// one group have a Shim each, though the process is the same.
type Shim struct {
	Bundle   *Bundle
	Endpoint Endpoint
	// Task speaks the Task API in the version that the shim answered. Its errors
	// carry gRPC status codes (Code), or are ttrpc.ErrClosed.
	Task *task.Client

	conn   *ttrpc.Client
	log    *shimLog
	closed chan struct{}
}

// connectPatience is how long the daemon waits for a shim's socket to accept.
const connectPatience = 100 * time.Second

// connect takes log over, which may be nil: it is closed with the connection.
func connect(b *Bundle, e Endpoint, log *shimLog) (*Shim, error) {
	conn, err := net.DialTimeout("unix", e.path(), connectPatience)
	if err != nil {
		return nil, err
	}
	s := &Shim{Bundle: b, Endpoint: e, log: log, closed: make(chan struct{})}
	s.conn = ttrpc.NewClient(conn, ttrpc.WithOnClose(func() {
		if log != nil {
			log.Close()
		}
		close(s.closed)
	}))
	s.Task = task.NewClient(s.conn, e.Version)
	return s, nil
}

// Conn is the connection itself, for calls that are not of the Task API.
func (s *Shim) Conn() *ttrpc.Client { return s.conn }

// Closed is closed when the connection has ended: by Close, or because the shim
// is gone.
func (s *Shim) Closed() <-chan struct{} { return s.closed }

// OnClose calls f on a goroutine of its own once the connection has ended.
func (s *Shim) OnClose(f func()) {
	go func() {
		<-s.closed
		f()
	}()
}

// Close ends the connection, not the shim, and waits for its end.
func (s *Shim) Close() error {
	err := s.conn.Close()
	<-s.closed
	if err != nil {
		return fmt.Errorf("close connection to shim: %w", err)
	}
	return nil
}

// Pid asks the shim for its own process id.
func (s *Shim) Pid(ctx context.Context) (int, error) {
	r, err := s.Task.Connect(ctx, &task.ConnectRequest{Id: s.Bundle.ID})
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	return int(r.ShimPid), nil
}

// Shutdown asks the shim to end, which it does if it holds no container. A shim
// that is gone already is no error, nor is one that ends: its answer comes right
// before the connection's end, and a ttrpc client (1.2) may see the end first.
func (s *Shim) Shutdown(ctx context.Context) error {
	_, err := s.Task.Shutdown(ctx, &task.ShutdownRequest{Id: s.Bundle.ID})
	if err != nil && !errors.Is(err, ttrpc.ErrClosed) {
		return fmt.Errorf("shut down shim: %w", err)
	}
	return nil
}
