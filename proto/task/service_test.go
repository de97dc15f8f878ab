package task_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// A recorder is a Service that notes what reached it and answers what a test told
// it to, through a Service method's value with every field set where the test
// told nothing.
type recorder struct {
	mu    sync.Mutex // guards calls
	calls []string
	err   error
	wide  func() (*task.StateResponse, error) // State's answer, when set
}

func note[R any](r *recorder, method string, req any, resp *R) (*R, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := reflect.ValueOf(req).Elem().FieldByName("Id").String()
	r.calls = append(r.calls, method+" "+id)
	if r.err != nil {
		return nil, r.err
	}
	return resp, nil
}

var exited = time.Unix(1700000000, 5).UTC()

func (r *recorder) State(_ context.Context, q *task.StateRequest) (*task.StateResponse, error) {
	if r.wide != nil {
		return r.wide()
	}
	return note(r, "State", q, &task.StateResponse{Id: q.Id, ExecId: q.ExecId, Status: types.Status_STOPPED, ExitStatus: 137, ExitedAt: wkt.Time(exited)})
}
func (r *recorder) Create(_ context.Context, q *task.CreateTaskRequest) (*task.CreateTaskResponse, error) {
	return note(r, "Create", q, &task.CreateTaskResponse{Pid: uint32(len(q.Rootfs))})
}
func (r *recorder) Start(_ context.Context, q *task.StartRequest) (*task.StartResponse, error) {
	return note(r, "Start", q, &task.StartResponse{Pid: 11})
}
func (r *recorder) Delete(_ context.Context, q *task.DeleteRequest) (*task.DeleteResponse, error) {
	return note(r, "Delete", q, &task.DeleteResponse{Pid: 12})
}
func (r *recorder) Pids(_ context.Context, q *task.PidsRequest) (*task.PidsResponse, error) {
	return note(r, "Pids", q, &task.PidsResponse{Processes: []*types.ProcessInfo{{Pid: 1}, {Pid: 2}}})
}
func (r *recorder) Pause(_ context.Context, q *task.PauseRequest) (*wkt.Empty, error) {
	return note(r, "Pause", q, &wkt.Empty{})
}
func (r *recorder) Resume(_ context.Context, q *task.ResumeRequest) (*wkt.Empty, error) {
	return note(r, "Resume", q, &wkt.Empty{})
}
func (r *recorder) Checkpoint(_ context.Context, q *task.CheckpointTaskRequest) (*wkt.Empty, error) {
	return note(r, "Checkpoint", q, &wkt.Empty{})
}
func (r *recorder) Kill(_ context.Context, q *task.KillRequest) (*wkt.Empty, error) {
	return note(r, "Kill", q, &wkt.Empty{})
}
func (r *recorder) Exec(_ context.Context, q *task.ExecProcessRequest) (*wkt.Empty, error) {
	return note(r, "Exec", q, &wkt.Empty{})
}
func (r *recorder) ResizePty(_ context.Context, q *task.ResizePtyRequest) (*wkt.Empty, error) {
	return note(r, "ResizePty", q, &wkt.Empty{})
}
func (r *recorder) CloseIO(_ context.Context, q *task.CloseIORequest) (*wkt.Empty, error) {
	return note(r, "CloseIO", q, &wkt.Empty{})
}
func (r *recorder) Update(_ context.Context, q *task.UpdateTaskRequest) (*wkt.Empty, error) {
	return note(r, "Update", q, &wkt.Empty{})
}
func (r *recorder) Wait(_ context.Context, q *task.WaitRequest) (*task.WaitResponse, error) {
	return note(r, "Wait", q, &task.WaitResponse{ExitStatus: 3})
}
func (r *recorder) Stats(_ context.Context, q *task.StatsRequest) (*task.StatsResponse, error) {
	return note(r, "Stats", q, &task.StatsResponse{Stats: &wkt.Any{TypeUrl: "t"}})
}
func (r *recorder) Connect(_ context.Context, q *task.ConnectRequest) (*task.ConnectResponse, error) {
	return note(r, "Connect", q, &task.ConnectResponse{Version: "v"})
}
func (r *recorder) Shutdown(_ context.Context, q *task.ShutdownRequest) (*wkt.Empty, error) {
	return note(r, "Shutdown", q, &wkt.Empty{})
}

// connect serves svc on one end of a socket pair and returns a client on the other.
func connect(t *testing.T, svc task.Service) *ttrpc.Client {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	task.Register(srv, svc)
	l := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{}), addr: ends[0].LocalAddr()}
	l.conns <- ends[0]
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	client := ttrpc.NewClient(ends[1])
	t.Cleanup(func() {
		client.Close()
		srv.Close()
		if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return client
}

// single is a listener with the connections put into it.
type single struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *single) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *single) Addr() net.Addr { return l.addr }

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// callAll calls each of svc's methods with its name as the container's id, so that
// a method under another's name is seen.
func callAll(t *testing.T, svc any) (names, want []string) {
	t.Helper()
	ctx := deadline(t)
	v := reflect.ValueOf(svc)
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if m.Type.NumIn() != 3 || m.Type.NumOut() != 2 {
			continue
		}
		req := reflect.New(m.Type.In(2).Elem())
		for _, field := range []string{"Id", "ID"} {
			if f := req.Elem().FieldByName(field); f.IsValid() {
				f.SetString("for " + m.Name)
			}
		}
		out := v.Method(i).Call([]reflect.Value{reflect.ValueOf(ctx), req})
		if err, _ := out[1].Interface().(error); err != nil {
			t.Errorf("%s: %v", m.Name, err)
		}
		names = append(names, m.Name)
		want = append(want, m.Name+" for "+m.Name)
	}
	return names, want
}

func TestEveryMethodReachesItsOwnUnderBothNames(t *testing.T) {
	for _, c := range []struct {
		name   string
		client func(*ttrpc.Client) any
	}{
		{"our client, version 2", func(c *ttrpc.Client) any { return task.NewClient(c, 2) }},
		{"our client, version 3", func(c *ttrpc.Client) any { return task.NewClient(c, 3) }},
		{"the official client, version 2", func(c *ttrpc.Client) any { return taskv2.NewTTRPCTaskClient(c) }},
		{"the official client, version 3", func(c *ttrpc.Client) any { return taskv3.NewTTRPCTaskClient(c) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			names, want := callAll(t, c.client(connect(t, r)))
			if len(names) != 17 {
				t.Errorf("%d methods called: %v", len(names), names)
			}
			if !reflect.DeepEqual(r.calls, want) {
				t.Errorf("reached\n%v, want\n%v", r.calls, want)
			}
		})
	}
}

func TestRequestsAndAnswersKeepTheirContents(t *testing.T) {
	for _, version := range []int{2, 3} {
		c := task.NewClient(connect(t, &recorder{}), version)
		ctx := deadline(t)
		created, err := c.Create(ctx, &task.CreateTaskRequest{Id: "c", Rootfs: []*types.Mount{{}, {Type: "bind"}, {}}})
		if err != nil || created.Pid != 3 {
			t.Errorf("version %d: Create answers %+v, %v", version, created, err)
		}
		got, err := c.State(ctx, &task.StateRequest{Id: "c", ExecId: "e"})
		if err != nil {
			t.Fatal(err)
		}
		want := &task.StateResponse{Id: "c", ExecId: "e", Status: types.Status_STOPPED, ExitStatus: 137, ExitedAt: wkt.Time(exited)}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("version %d: State answers %+v, want %+v", version, got, want)
		}
	}
}

func TestErrorsKeepTheirCodeAndText(t *testing.T) {
	for _, version := range []int{2, 3} {
		r := &recorder{}
		c := task.NewClient(connect(t, r), version)
		for _, want := range []error{
			status.Error(codes.NotFound, "container c: not found"),
			status.Error(codes.FailedPrecondition, "container not created"),
			status.Error(codes.Unavailable, "runc start: past its deadline"),
			status.Error(codes.AlreadyExists, ""),
		} {
			r.err = want
			resp, err := c.Kill(deadline(t), &task.KillRequest{Id: "c"})
			if resp != nil {
				t.Errorf("version %d: an answer beside the error %v", version, err)
			}
			if status.Code(err) != status.Code(want) || status.Convert(err).Message() != status.Convert(want).Message() {
				t.Errorf("version %d: %v, want %v", version, err, want)
			}
		}
		r.err = errors.New("no status")
		if _, err := c.Kill(deadline(t), &task.KillRequest{}); status.Code(err) != codes.Unknown || !strings.Contains(err.Error(), "no status") {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// What cannot be encoded costs its own call, not the connection.
func TestAnAnswerThatCannotBeSentIsAnErrorOfItsCall(t *testing.T) {
	long := strings.Repeat("é", 3<<20)
	for name, c := range map[string]struct {
		answer func() (*task.StateResponse, error)
		code   codes.Code
		text   string
	}{
		"nil": {
			func() (*task.StateResponse, error) { return nil, nil },
			codes.Internal, "answer containerd.task.v3.StateResponse: nil",
		},
		"too long": {
			func() (*task.StateResponse, error) { return &task.StateResponse{Bundle: long}, nil },
			codes.ResourceExhausted, "answer containerd.task.v3.StateResponse: 6291461 bytes",
		},
		"text not UTF-8": {
			func() (*task.StateResponse, error) {
				return nil, status.Error(codes.InvalidArgument, "runc said caf\xe9 \xff\xfe here")
			},
			codes.InvalidArgument, "runc said caf\uFFFD \uFFFD here",
		},
		"text not UTF-8, wrapped": {
			func() (*task.StateResponse, error) {
				return nil, fmt.Errorf("state \xff: %w", status.Error(codes.NotFound, "gone"))
			},
			codes.NotFound, "state \uFFFD: ",
		},
		"text too long": {
			func() (*task.StateResponse, error) { return nil, status.Error(codes.Unavailable, "x"+long) },
			codes.Unavailable, "xéé",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{wide: c.answer}
			client := task.NewClient(connect(t, r), 3)
			_, err := client.State(deadline(t), &task.StateRequest{})
			if got := status.Code(err); got != c.code {
				t.Errorf("code %v, want %v: %.100v", got, c.code, err)
			}
			if text := status.Convert(err).Message(); !strings.HasPrefix(text, c.text) || !utf8.ValidString(text) {
				t.Errorf("text %.100q, want %q", text, c.text)
			}
			if _, err := client.Start(deadline(t), &task.StartRequest{}); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

// A request that is no message is an error of its call too, and reaches nobody.
func TestARequestOfOtherBytesReachesNobody(t *testing.T) {
	r := &recorder{}
	client := connect(t, r)
	for _, service := range []string{task.ServiceV2, task.ServiceV3} {
		// A number where the id should be.
		var resp taskv3.StateResponse
		err := client.Call(deadline(t), service, "State", &taskv3.CreateTaskResponse{Pid: 5}, &resp)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "field Id") {
			t.Errorf("%s: %v", service, err)
		}
		err = client.Call(deadline(t), service, "NoSuch", &taskv3.StateRequest{}, &resp)
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s, a method that is not there: %v", service, err)
		}
	}
	if len(r.calls) != 0 {
		t.Errorf("reached %v", r.calls)
	}
}
