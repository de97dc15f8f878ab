package events_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	official "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	officialtypes "github.com/containerd/containerd/api/types"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

type taker struct {
	got *events.ForwardRequest
	err error
}

func (f *taker) Forward(_ context.Context, req *events.ForwardRequest) (*wkt.Empty, error) {
	f.got = req
	return &wkt.Empty{}, f.err
}

func connect(t *testing.T, f events.Forwarder) *ttrpc.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	events.RegisterForwarder(srv, f)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	t.Cleanup(func() {
		client.Close()
		srv.Close()
		if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return client
}

func TestAnEventArrivesAsItWasSent(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	event, err := proto.Pack(&events.TaskExit{ContainerId: "c", Id: "e", Pid: 7, ExitStatus: 137, ExitedAt: wkt.Now()})
	if err != nil {
		t.Fatal(err)
	}
	want := &events.ForwardRequest{Envelope: &types.Envelope{Timestamp: wkt.Now(), Namespace: "k8s.io", Topic: "/tasks/exit", Event: event}}

	f := &taker{}
	client := connect(t, f)
	if _, err := events.NewClient(client).Forward(ctx, want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.got, want) {
		t.Errorf("from our client %+v, want %+v", f.got, want)
	}

	f.got = nil
	_, err = official.NewTTRPCEventsClient(client).Forward(ctx, &official.ForwardRequest{Envelope: &officialtypes.Envelope{
		Timestamp: &timestamppb.Timestamp{Seconds: want.Envelope.Timestamp.Seconds, Nanos: want.Envelope.Timestamp.Nanos},
		Namespace: "k8s.io", Topic: "/tasks/exit", Event: &anypb.Any{TypeUrl: event.TypeUrl, Value: event.Value},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.got, want) {
		t.Errorf("from the official client %+v, want %+v", f.got, want)
	}
}

func TestARefusalReachesTheSender(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := events.NewClient(connect(t, &taker{err: status.Error(codes.InvalidArgument, "no topic")}))
	resp, err := c.Forward(ctx, &events.ForwardRequest{})
	if resp != nil || status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v, %v", resp, err)
	}
}
