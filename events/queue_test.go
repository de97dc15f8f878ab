package events

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
)

const patience = 30 * time.Second

// daemon is containerd's events endpoint.
type daemon struct {
	srv *ttrpc.Server
	got chan *types.Envelope

	mu    sync.Mutex
	reply func(*types.Envelope) error // guarded by mu
}

func (d *daemon) Forward(_ context.Context, req *events.ForwardRequest) (*wkt.Empty, error) {
	d.mu.Lock()
	reply := d.reply
	d.mu.Unlock()
	if reply != nil {
		if err := reply(req.Envelope); err != nil {
			return nil, err
		}
	}
	d.got <- req.Envelope
	return &wkt.Empty{}, nil
}

func serve(t *testing.T, path string, reply func(*types.Envelope) error) *daemon {
	t.Helper()
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{srv: srv, got: make(chan *types.Envelope, 10_000), reply: reply}
	events.RegisterForwarder(srv, d)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(context.Background(), l) }()
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) stop() { _ = d.srv.Close() }

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ev") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func queue(t *testing.T, path string) *Queue {
	t.Helper()
	q := New("ns", NewForward("unix://"+path), log.Discard())
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func publish(q *Queue, from, to int) {
	for i := from; i < to; i++ {
		q.Publish("/tasks/exit", &events.TaskExit{ContainerId: "c", Pid: uint32(i)})
	}
}

// expect reads the events from … to-1 off the daemon, in order.
func expect(t *testing.T, d *daemon, from, to int) {
	t.Helper()
	deadline := time.After(patience)
	for i := from; i < to; i++ {
		select {
		case e := <-d.got:
			var exit events.TaskExit
			if err := proto.Unpack(e.Event, &exit); err != nil {
				t.Fatal(err)
			}
			if int(exit.Pid) != i || e.Namespace != "ns" || e.Topic != "/tasks/exit" || e.Timestamp == nil {
				t.Fatalf("event %d: got %+v of %+v", i, exit, e)
			}
		case <-deadline:
			t.Fatalf("event %d did not come", i)
		}
	}
}

func flush(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := q.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestEventsArriveInOrder(t *testing.T) {
	path := socket(t)
	d := serve(t, path, nil)
	q := queue(t, path)
	publish(q, 0, 1000)
	expect(t, d, 0, 1000)
	flush(t, q)
	if n := q.Len(); n != 0 {
		t.Errorf("%d events wait after Flush", n)
	}
}

func TestEventsOfADaemonsAbsenceArriveWhenItIsBack(t *testing.T) {
	path := socket(t)
	q := queue(t, path)
	publish(q, 0, 100) // it was never there yet
	first := serve(t, path, nil)
	expect(t, first, 0, 100)
	flush(t, q)
	first.stop()
	os.Remove(path)
	publish(q, 100, 500)
	second := serve(t, path, nil)
	expect(t, second, 100, 500)
}

func TestEventThatTheDaemonCouldNotTakeIsSentAgain(t *testing.T) {
	path := socket(t)
	failures := 3
	d := serve(t, path, func(*types.Envelope) error {
		if failures > 0 {
			failures--
			return status.Error(codes.Unavailable, "shutting down")
		}
		return nil
	})
	q := queue(t, path)
	publish(q, 0, 3)
	expect(t, d, 0, 3)
}

func TestEventThatTheDaemonRefusesDoesNotHoldUpTheOthers(t *testing.T) {
	path := socket(t)
	refuse := true
	d := serve(t, path, func(*types.Envelope) error {
		if refuse {
			refuse = false
			return status.Error(codes.InvalidArgument, "no such topic")
		}
		return nil
	})
	q := queue(t, path)
	publish(q, 0, 3)
	expect(t, d, 1, 3)
}

func TestPublishDoesNotWaitForAStalledDaemon(t *testing.T) {
	path := socket(t)
	release := make(chan struct{})
	d := serve(t, path, func(*types.Envelope) error { <-release; return nil })
	q := queue(t, path)
	publish(q, 0, 5000) // would never return if it waited
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Flush(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("flush with a stalled daemon: %v", err)
	}
	close(release)
	expect(t, d, 0, 5000)
}

func TestCloseReturnsWhileTheDaemonIsAway(t *testing.T) {
	q := New("ns", NewForward(socket(t)), log.Discard())
	publish(q, 0, 10)
	done := make(chan struct{})
	go func() { _ = q.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("Close waits for a daemon that is not there")
	}
}

func TestBinaryGetsTheEventOnItsStdin(t *testing.T) {
	r, err := reaper.New()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	dir := t.TempDir()
	script := filepath.Join(dir, "containerd")
	text := fmt.Sprintf("#!/bin/sh\necho \"$@\" >%s/args\ncat >%s/stdin\n", dir, dir)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	q := New("ns", &Binary{Path: script, Address: "/run/c.sock", Reaper: r}, log.Discard())
	defer q.Close()
	publish(q, 7, 8)
	flush(t, q)
	args, err := os.ReadFile(dir + "/args")
	if want := "--address /run/c.sock publish --topic /tasks/exit --namespace ns"; err != nil || strings.TrimSpace(string(args)) != want {
		t.Errorf("args %q, %v", args, err)
	}
	stdin, err := os.ReadFile(dir + "/stdin")
	if err != nil {
		t.Fatal(err)
	}
	var (
		packed wkt.Any
		exit   events.TaskExit
	)
	if err := packed.Unmarshal(stdin); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unpack(&packed, &exit); err != nil || exit.Pid != 7 {
		t.Errorf("%+v, %v", exit, err)
	}
}
