package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// Events is a daemon's end of the way of events: a ttrpc socket that shims
// forward to. It keeps every event in the order of arrival, and can go away and
// come back on the same path, as a daemon does that is restarted.
type Events struct {
	path string
	hook func(context.Context, Event) error

	mu      sync.Mutex // guards what is below
	server  *ttrpc.Server
	life    int           // how often listening was started
	served  chan struct{} // closed when the server's accept loop has ended
	kept    []Event
	changed chan struct{} // closed and replaced when kept grows
}

// EventsOption changes how an Events is made.
type EventsOption func(*Events)

// WithHook has f called with each event before it is kept, on a goroutine per
// request. An error is answered to the shim and the event is not kept; while f
// does not return, the shim waits.
func WithHook(f func(context.Context, Event) error) EventsOption {
	return func(e *Events) { e.hook = f }
}

// ListenEvents listens on a unix socket at path, whose directory must exist, and
// keeps what is forwarded to it until Stop. A dead socket at path is replaced.
func ListenEvents(path string, options ...EventsOption) (*Events, error) {
	e := &Events{path: path, changed: make(chan struct{})}
	for _, o := range options {
		o(e)
	}
	if err := e.Start(); err != nil {
		return nil, err
	}
	return e, nil
}

// Path is the socket's, for TTRPC_ADDRESS.
func (e *Events) Path() string { return e.path }

// Start listens again after Stop or Crash. What was kept stays.
func (e *Events) Start() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.server != nil {
		return errors.New("listen for events: already listening")
	}
	if err := os.Remove(e.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("listen for events: %w", err)
	}
	l, err := net.Listen("unix", e.path)
	if err != nil {
		return fmt.Errorf("listen for events: %w", err)
	}
	if err := os.Chmod(e.path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("listen for events: %w", err)
	}
	// Whether the socket's file goes is for Stop and Crash to say.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	srv, err := ttrpc.NewServer()
	if err != nil {
		l.Close()
		return fmt.Errorf("listen for events: %w", err)
	}
	e.life++
	events.RegisterForwarder(srv, forwarder{e, e.life})
	served := make(chan struct{})
	e.server, e.served = srv, served
	go func() {
		defer close(served)
		srv.Serve(context.Background(), l)
	}()
	return nil
}

// stopPatience is how long an orderly stop waits for requests being answered.
const stopPatience = 10 * time.Second

// Stop ends listening as an orderly daemon does: requests that have come are
// carried out, then connections are closed and the socket's file is removed. It
// may be called when not listening.
//
// As with a real daemon, the answer to the last request may not get out, and the
// shim then sends that event once more to the next life.
func (e *Events) Stop() error {
	srv, served := e.takeServer()
	if srv == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, srv.Close())
	}
	<-served
	if rm := os.Remove(e.path); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	if err != nil {
		return fmt.Errorf("stop listening for events: %w", err)
	}
	return nil
}

// Crash ends listening as a killed daemon does: connections break in the middle
// of requests and the socket's file stays, with nobody behind it.
func (e *Events) Crash() error {
	srv, served := e.takeServer()
	if srv == nil {
		return nil
	}
	err := srv.Close()
	<-served
	if err != nil {
		return fmt.Errorf("break off listening for events: %w", err)
	}
	return nil
}

func (e *Events) takeServer() (*ttrpc.Server, chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	srv := e.server
	e.server = nil
	return srv, e.served
}

// forwarder is the service's face of Events in one of its lives. A request may
// outlive that: then it still belongs to it.
type forwarder struct {
	e    *Events
	life int
}

func (f forwarder) Forward(ctx context.Context, r *events.ForwardRequest) (*wkt.Empty, error) {
	ev, err := decodeEnvelope(r.Envelope)
	if err != nil {
		return nil, err
	}
	ev.Arrived, ev.Life = time.Now(), f.life
	if f.e.hook != nil {
		if err := f.e.hook(ctx, ev); err != nil {
			return nil, err
		}
	}
	f.e.keep(ev)
	return &wkt.Empty{}, nil
}

func (e *Events) keep(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, ev)
	close(e.changed)
	e.changed = make(chan struct{})
}

// All returns what has been kept so far, in order of arrival.
func (e *Events) All() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kept[:len(e.kept):len(e.kept)]
}

// Wait returns the first kept event that matches, waiting for it if it has not
// come yet. When ctx ends first, the error tells how many events there were.
func (e *Events) Wait(ctx context.Context, matches func(Event) bool) (Event, error) {
	seen := 0
	for {
		e.mu.Lock()
		kept, changed := e.kept, e.changed
		e.mu.Unlock()
		for ; seen < len(kept); seen++ {
			if matches(kept[seen]) {
				return kept[seen], nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for event, of %d none matched: %w", len(kept), context.Cause(ctx))
		}
	}
}

// Each calls f with every kept event and then with each as it comes, in order,
// until ctx ends; those that have come by then are not left out.
func (e *Events) Each(ctx context.Context, f func(Event)) {
	seen := 0
	for ended := false; ; {
		e.mu.Lock()
		kept, changed := e.kept, e.changed
		e.mu.Unlock()
		for ; seen < len(kept); seen++ {
			f(kept[seen])
		}
		if ended {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			ended = true
		}
	}
}
