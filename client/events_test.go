package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// publisher is the shim's side.
func publisher(t *testing.T, path string) *events.Client {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := ttrpc.NewClient(conn)
	t.Cleanup(func() { c.Close() })
	return events.NewClient(c)
}

func envelope(t *testing.T, topic string, m proto.Message) *types.Envelope {
	t.Helper()
	any, err := proto.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return &types.Envelope{Timestamp: wkt.Time(time.Unix(100, 0)), Namespace: "ns", Topic: topic, Event: any}
}

func listen(t *testing.T, o ...EventsOption) *Events {
	t.Helper()
	e, err := ListenEvents(filepath.Join(t.TempDir(), "e"), o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Stop() })
	return e
}

func TestEventsAreKeptInOrderOfArrival(t *testing.T) {
	e := listen(t)
	p := publisher(t, e.Path())
	for i := range uint32(50) {
		env := envelope(t, TopicStart, &events.TaskStart{ContainerId: "c", Pid: i})
		if _, err := p.Forward(t.Context(), &events.ForwardRequest{Envelope: env}); err != nil {
			t.Fatal(err)
		}
	}
	for i, ev := range e.All() {
		if ev.Pid != uint32(i) || ev.ContainerID != "c" || ev.Namespace != "ns" || ev.Time.Unix() != 100 || ev.Life != 1 {
			t.Fatalf("event %d is %+v", i, ev)
		}
	}
}

func TestEveryTopicIsDecoded(t *testing.T) {
	at := wkt.Time(time.Unix(7, 0))
	for _, tt := range []struct {
		topic string
		m     proto.Message
		want  string // after the time
	}{
		{TopicCreate, &events.TaskCreate{ContainerId: "c", Pid: 1}, "/tasks/create id=c pid=1"},
		{TopicStart, &events.TaskStart{ContainerId: "c", Pid: 1}, "/tasks/start id=c pid=1"},
		{TopicOOM, &events.TaskOOM{ContainerId: "c"}, "/tasks/oom id=c"},
		{TopicExit, &events.TaskExit{ContainerId: "c", Id: "c", Pid: 1, ExitStatus: 0, ExitedAt: at}, "/tasks/exit id=c pid=1 status=0"},
		{TopicExit, &events.TaskExit{ContainerId: "c", Id: "x", Pid: 1, ExitStatus: 9}, "/tasks/exit id=c exec=x pid=1 status=9"},
		{TopicDelete, &events.TaskDelete{ContainerId: "c", Pid: 1, ExitStatus: 9}, "/tasks/delete id=c pid=1 status=9"},
		{TopicDelete, &events.TaskDelete{ContainerId: "c", Id: "x", Pid: 1}, "/tasks/delete id=c exec=x pid=1 status=0"},
		{TopicExecAdded, &events.TaskExecAdded{ContainerId: "c", ExecId: "x"}, "/tasks/exec-added id=c exec=x"},
		{TopicExecStarted, &events.TaskExecStarted{ContainerId: "c", ExecId: "x", Pid: 2}, "/tasks/exec-started id=c exec=x pid=2"},
		{TopicPaused, &events.TaskPaused{ContainerId: "c"}, "/tasks/paused id=c"},
		{TopicResumed, &events.TaskResumed{ContainerId: "c"}, "/tasks/resumed id=c"},
		{TopicCheckpointed, &events.TaskCheckpointed{ContainerId: "c"}, "/tasks/checkpointed id=c"},
	} {
		ev, err := decodeEnvelope(envelope(t, tt.topic, tt.m))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := ev.String(); got != "1970-01-01T00:01:40.000000Z "+tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if got, want := fmt.Sprintf("%T", ev.Message), fmt.Sprintf("%T", tt.m); got != want {
			t.Errorf("message %s, want %s", got, want)
		}
	}
}

func TestEventsThatNoDaemonCouldUseAreRefused(t *testing.T) {
	wrong := envelope(t, TopicExit, &events.TaskStart{ContainerId: "c"})
	unknown := envelope(t, "/tasks/dance", &events.TaskStart{ContainerId: "c"})
	broken := envelope(t, TopicStart, &events.TaskStart{ContainerId: "c"})
	broken.Event.Value = []byte{0xff}
	empty := &types.Envelope{Topic: TopicStart}
	e := listen(t)
	p := publisher(t, e.Path())
	for _, env := range []*types.Envelope{nil, empty, wrong, unknown, broken} {
		if _, err := p.Forward(t.Context(), &events.ForwardRequest{Envelope: env}); err == nil {
			t.Errorf("%v was taken", env)
		}
	}
	if len(e.All()) > 0 {
		t.Errorf("kept %v", e.All())
	}
}

func TestWaitHearsWhatCameAndWhatComes(t *testing.T) {
	e := listen(t)
	p := publisher(t, e.Path())
	send := func(pid uint32) {
		env := envelope(t, TopicStart, &events.TaskStart{Pid: pid})
		if _, err := p.Forward(t.Context(), &events.ForwardRequest{Envelope: env}); err != nil {
			t.Error(err)
		}
	}
	is := func(pid uint32) func(Event) bool { return func(ev Event) bool { return ev.Pid == pid } }
	send(1)
	if _, err := e.Wait(t.Context(), is(1)); err != nil {
		t.Error(err)
	}
	var sending sync.WaitGroup
	sending.Go(func() { send(2) })
	if _, err := e.Wait(t.Context(), is(2)); err != nil {
		t.Error(err)
	}
	sending.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Wait(ctx, is(3)); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}

func TestEachLeavesNothingOut(t *testing.T) {
	e := listen(t)
	for i := range uint32(3) {
		e.keep(Event{Pid: i})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got []uint32
	e.Each(ctx, func(ev Event) { got = append(got, ev.Pid) })
	if len(got) != 3 {
		t.Errorf("heard %v", got)
	}
}

func TestADaemonGoesAwayAndComesBackOnTheSamePath(t *testing.T) {
	e := listen(t)
	forward := func() error {
		conn, err := net.Dial("unix", e.Path())
		if err != nil {
			return err
		}
		c := ttrpc.NewClient(conn)
		defer c.Close()
		env := envelope(t, TopicStart, &events.TaskStart{})
		_, err = events.NewClient(c).Forward(t.Context(), &events.ForwardRequest{Envelope: env})
		return err
	}
	if err := forward(); err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := forward(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("after Stop: %v", err)
	}
	if err := e.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(); err == nil {
		t.Error("two lives at once")
	}
	if err := forward(); err != nil {
		t.Error(err)
	}
	if err := e.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := forward(); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("after Crash: %v", err)
	}
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	if err := forward(); err != nil {
		t.Error(err)
	}
	lives := []int{}
	for _, ev := range e.All() {
		lives = append(lives, ev.Life)
	}
	if fmt.Sprint(lives) != "[1 2 3]" {
		t.Errorf("lives %v", lives)
	}
}

func TestAHookRefuses(t *testing.T) {
	e := listen(t, WithHook(func(context.Context, Event) error { return errors.New("no") }))
	p := publisher(t, e.Path())
	env := envelope(t, TopicStart, &events.TaskStart{})
	if _, err := p.Forward(t.Context(), &events.ForwardRequest{Envelope: env}); err == nil {
		t.Error("taken")
	}
	if len(e.All()) > 0 {
		t.Errorf("kept %v", e.All())
	}
}

func TestTheEventsSocketIsForItsOwnerAlone(t *testing.T) {
	st, err := os.Stat(listen(t).Path())
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
}
