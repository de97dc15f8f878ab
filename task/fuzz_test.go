package task

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	googleproto "google.golang.org/protobuf/proto"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/frame"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// prison is where each worker of a process that fuzzes has a directory.
func prison(pid int) string { return filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-fuzz-%d", pid)) }

func worker() bool {
	w := flag.Lookup("test.fuzzworker")
	return w != nil && w.Value.String() == "true"
}

// confined has f's workers confined, and cleaned up after.
func confined(f *testing.F) {
	if !worker() {
		f.Cleanup(func() { os.RemoveAll(prison(os.Getpid())) })
	}
}

// confine shuts a fuzzing worker into an empty directory without rights: requests
// name files, mounts and programs, and what they ask for is done.
var confine = sync.OnceValue(func() error {
	if !worker() || os.Geteuid() != 0 {
		return nil
	}
	dir := filepath.Join(prison(os.Getppid()), strconv.Itoa(os.Getpid()))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// For bundles, tests' own directories, and what requests make.
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "b/rootfs"), 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "b/config.json"), []byte(`{"linux":{"namespaces":[{"type":"pid"}]}}`), 0o666); err != nil {
		return err
	}
	if err := unix.Mkfifo(filepath.Join(dir, "b/f"), 0o666); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o777); err != nil {
		return err
	}
	for _, name := range []string{"b", "b/rootfs", "b/config.json", "b/f", "tmp"} {
		if err := os.Chown(filepath.Join(dir, name), 65534, 65534); err != nil {
			return err
		}
	}
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setgid(65534); err != nil {
		return err
	}
	return syscall.Setuid(65534)
})

// children is the one reaper that a process may have.
var children = sync.OnceValues(reaper.New)

// besieged is a service with a running container c that has an exec e. Its runtime
// is a program that is not there.
func besieged(t *testing.T) *Service {
	t.Helper()
	r, err := children()
	if err != nil {
		t.Fatal(err)
	}
	if err := confine(); err != nil {
		t.Fatal(err)
	}
	s := New(Config{
		Namespace: "ns", Log: log.Discard(), Reaper: r, Events: new(story), Shutdown: func() {},
		Idle: time.Hour, Drain: time.Millisecond, Ready: time.Millisecond,
	})
	c := hold(t, s)
	c.bundle = "/b"
	c.runtime = &runc.Runtime{Binary: "/no/such/runtime", Root: "/no/such/root", Bundle: "/b", ID: "c", Reaper: r}
	c.add("e")
	return s
}

// methods are those of the service, in the order of their names.
func methods() []reflect.Method {
	return slices.Collect(reflect.TypeFor[task.Service]().Methods())
}

// calls makes calls of bytes: a method, a length, and as much of a request.
func calls(b []byte) (all []func(*Service, context.Context) (reflect.Method, error)) {
	for len(b) >= 2 && len(all) < 32 {
		m := methods()[int(b[0])%len(methods())]
		n := min(int(b[1]), len(b)-2)
		body := b[2 : 2+n]
		b = b[2+n:]
		all = append(all, func(s *Service, ctx context.Context) (reflect.Method, error) {
			f := reflect.ValueOf(s).MethodByName(m.Name)
			r := reflect.New(f.Type().In(1).Elem())
			if err := r.Interface().(proto.Message).Unmarshal(bytes.Clone(body)); err != nil {
				return m, nil // it reaches no method
			}
			err, _ := f.Call([]reflect.Value{reflect.ValueOf(ctx), r})[1].Interface().(error)
			return m, err
		})
	}
	return all
}

// call is the bytes of one.
func call(method string, r proto.Message) []byte {
	i := slices.IndexFunc(methods(), func(m reflect.Method) bool { return m.Name == method })
	b, err := r.Marshal()
	if i < 0 || err != nil || len(b) > 255 {
		panic(fmt.Sprint("no call: ", method, " ", err))
	}
	return append([]byte{byte(i), byte(len(b))}, b...)
}

// A row of requests, whatever is in them, is answered, each within its time or with
// its end, with a code; and another client is served after it.
func FuzzTaskRequests(f *testing.F) {
	confined(f)
	spec := &wkt.Any{Value: []byte(`{"args":["true"],"cwd":"/"}`)}
	f.Add(call("State", &task.StateRequest{Id: "c"}))
	f.Add(slices.Concat(
		call("Exec", &task.ExecProcessRequest{Id: "c", ExecId: "x", Spec: spec, Stdout: "/b/f"}),
		call("Start", &task.StartRequest{Id: "c", ExecId: "x"}),
		call("Wait", &task.WaitRequest{Id: "c", ExecId: "x"}),
		call("Delete", &task.DeleteRequest{Id: "c", ExecId: "x"}),
		call("Delete", &task.DeleteRequest{Id: "c", ExecId: "x"})))
	f.Add(slices.Concat(
		call("Create", &task.CreateTaskRequest{Id: "d", Bundle: "/b", Stdin: "/b/f", Stdout: "/b/f", Stderr: "file:///b/log"}),
		call("Delete", &task.DeleteRequest{Id: "d"}),
		call("Shutdown", &task.ShutdownRequest{Id: "d"})))
	f.Add(slices.Concat(
		call("Kill", &task.KillRequest{Id: "c", Signal: 9, All: true}),
		call("Pause", &task.PauseRequest{Id: "c"}),
		call("Resume", &task.ResumeRequest{Id: "c"}),
		call("Update", &task.UpdateTaskRequest{Id: "c", Resources: &wkt.Any{Value: []byte("{}")}}),
		call("Checkpoint", &task.CheckpointTaskRequest{Id: "c", Path: "/b/p"}),
		call("Pids", &task.PidsRequest{Id: "c"}),
		call("Stats", &task.StatsRequest{Id: "c"}),
		call("ResizePty", &task.ResizePtyRequest{Id: "c", ExecId: "e", Width: 80, Height: 24}),
		call("CloseIO", &task.CloseIORequest{Id: "c", ExecId: "e", Stdin: true}),
		call("Connect", &task.ConnectRequest{Id: "c"}),
		call("Delete", &task.DeleteRequest{Id: "c", ExecId: "e"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := besieged(t)
		defer s.idle.busy()
		for _, do := range calls(b) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			m, err := do(s, ctx)
			cancel()
			if _, ok := status.FromError(err); !ok {
				t.Errorf("%s: an error without a code: %v", m.Name, err)
			}
			if c := status.Code(err); c == codes.Internal || c == codes.Unknown && strings.Contains(err.Error(), "panic") {
				t.Errorf("%s: %v", m.Name, err)
			}
		}
		if _, err := s.State(context.Background(), &task.StateRequest{Id: "c"}); err != nil {
			t.Errorf("the container is lost: %v", err)
		}
	})
}

// oneConn is a listener that has one connection to give.
type oneConn struct {
	conn  chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.ended) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }

func frameOf(typ byte, stream uint32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = binary.BigEndian.AppendUint32(b, stream)
	return append(append(b, typ, 0), body...)
}

func requestOf(stream uint32, method string, r proto.Message) []byte {
	payload, err := r.Marshal()
	if err != nil {
		panic(err)
	}
	body, err := googleproto.Marshal(&ttrpc.Request{Service: task.ServiceV2, Method: method, Payload: payload, TimeoutNano: int64(5 * time.Millisecond)})
	if err != nil {
		panic(err)
	}
	return frameOf(1, stream, body)
}

// Whatever a peer sends, the process lives, another peer is served, and the
// connection ends with the peer.
func FuzzServeFrames(f *testing.F) {
	confined(f)
	wait := requestOf(1, "Wait", &task.WaitRequest{Id: "c"})
	state := requestOf(3, "State", &task.StateRequest{Id: "c"})
	f.Add(slices.Concat(wait, state))
	f.Add(slices.Concat(wait, frameOf(3, 1, []byte("data")), state))
	f.Add(slices.Concat(state, wait, frameOf(2, 3, nil), frameOf(1, 5, []byte("\xff"))))
	f.Add(wait[:len(wait)-1])
	f.Add([]byte("\x00\x50\x00\x00\x00\x00\x00\x01\x01\x00more than may be"))
	f.Add(slices.Concat(requestOf(1, "Exec", &task.ExecProcessRequest{Id: "c", ExecId: "x", Spec: &wkt.Any{Value: []byte(`{}`)}}),
		requestOf(3, "Start", &task.StartRequest{Id: "c", ExecId: "x"}), requestOf(5, "Delete", &task.DeleteRequest{Id: "c", ExecId: "x"})))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := besieged(t)
		defer s.idle.busy()
		srv, err := ttrpc.NewServer()
		if err != nil {
			t.Fatal(err)
		}
		task.Register(srv, s)
		l := &oneConn{conn: make(chan net.Conn), ended: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(context.Background(), l) }()
		connect := func() (peer net.Conn, ended chan struct{}) {
			peer, near := net.Pipe()
			ended = make(chan struct{})
			l.conn <- frame.New(near, func() { close(ended) })
			return peer, ended
		}
		limit := time.After(patience)
		await := func(what string, ended <-chan struct{}) {
			t.Helper()
			select {
			case <-ended:
			case <-limit:
				t.Fatalf("%s does not end", what)
			}
		}
		hostile, hostileEnded := connect()
		go func() {
			// All that it is told it takes; when it is told no more it is gone.
			buf := make([]byte, 4096)
			for {
				if _, err := hostile.Read(buf); err != nil {
					return
				}
			}
		}()
		_ = hostile.SetWriteDeadline(time.Now().Add(patience))
		if _, err := hostile.Write(b); os.IsTimeout(err) {
			t.Error("what it sends is not read")
		}
		peer, peerEnded := connect()
		client := ttrpc.NewClient(peer)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := task.NewClient(client, 3).State(ctx, &task.StateRequest{Id: "c"}); err != nil {
			t.Errorf("another peer is not served: %v", err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		hostile.Close()
		await("the connection of a peer that is gone", hostileEnded)
		await("another's connection", peerEnded)
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
}
