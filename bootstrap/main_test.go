package bootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// The test binary is also a tiny shim: what it starts is itself. tinyEnv tells it
// to be one, and what its serving face is like.
const (
	tinyEnv   = "HOLDFAST_TEST_TINY_SHIM"
	socketEnv = "HOLDFAST_TEST_SOCKET_DIR"

	both    = "both"   // serves both versions of the Task API
	onlyV2  = "v2"     // as containerd's shims up to 1.7
	onlyV3  = "v3"     // as containerd's shims from 2.0
	hanging = "hang"   // holds the socket and does not accept
	failing = "fail"   // ends before it accepts
	noTasks = "notask" // speaks ttrpc but serves something else
)

func TestMain(m *testing.M) {
	if path := os.Getenv(mapsEnv); path != "" {
		fmt.Fprintln(os.Stderr, playMapping(path))
		os.Exit(1)
	}
	if os.Getenv(tinyEnv) != "" {
		tinyShim()
		return
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "THESE TESTS NEED ROOT: nothing was tested")
		os.Exit(1)
	}
	// What a start leaves behind becomes our child, so that it can be found.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func tinyShim() {
	f, err := ParseFlags(os.Args[1:], os.Stderr)
	c := &Call{
		Program: os.Args[0], Flags: f, Env: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SocketDir: os.Getenv(socketEnv),
	}
	if err == nil {
		switch f.Face {
		case FaceStart:
			err = Start(c)
		case FaceDelete:
			err = Delete(context.Background(), c)
		case FaceInfo:
			err = Info(context.Background(), c)
		case FaceServe:
			err = tinyServe(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tinyTask answers Connect and Shutdown.
type tinyTask struct {
	task.Service
	end func()
}

func (t tinyTask) Connect(context.Context, *task.ConnectRequest) (*task.ConnectResponse, error) {
	return &task.ConnectResponse{ShimPid: uint32(os.Getpid())}, nil
}

func (t tinyTask) Shutdown(context.Context, *task.ShutdownRequest) (*wkt.Empty, error) {
	go t.end()
	return &wkt.Empty{}, nil
}

func tinyServe(f Flags) error {
	kind := os.Getenv(tinyEnv)
	if kind == failing {
		return nil
	}
	l, err := Listen(f)
	if err != nil {
		return err
	}
	if kind == hanging {
		select {}
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	t := tinyTask{end: func() { l.Close(); srv.Close() }}
	switch kind {
	case both:
		task.Register(srv, t)
	case onlyV2, onlyV3, noTasks:
		name := map[string]string{onlyV2: task.ServiceV2, onlyV3: task.ServiceV3, noTasks: "some.Other"}[kind]
		srv.RegisterService(name, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
			"Connect": func(ctx context.Context, unmarshal func(any) error) (any, error) {
				return nil, errors.New("no such container")
			},
		}})
	}
	err = srv.Serve(context.Background(), l)
	if errors.Is(err, ttrpc.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// node is one machine's worth of directories: sockets and bundles.
type node struct {
	t       *testing.T
	sockets string
	bundles string
	kind    string
}

func newNode(t *testing.T) *node {
	t.Helper()
	// t.TempDir's paths are too long for a socket.
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, sockets: dir + "/s", bundles: dir + "/b", kind: both}
	if err := os.Mkdir(n.bundles, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		killChildren(t)
		os.RemoveAll(dir)
	})
	return n
}

// bundle makes the bundle of a container whose spec has the annotations.
func (n *node) bundle(id string, annotations map[string]string) string {
	n.t.Helper()
	dir := filepath.Join(n.bundles, id)
	if err := os.MkdirAll(filepath.Join(dir, "rootfs"), 0o711); err != nil {
		n.t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{"ociVersion": "1.0.2", "annotations": annotations})
	if err != nil {
		n.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		n.t.Fatal(err)
	}
	return dir
}

// command is the tiny shim called as containerd would, for the container id.
func (n *node) command(id string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{
		"-namespace", testNamespace(), "-address", "/run/c.sock", "-publish-binary", "/bin/true", "-id", id}, args...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = filepath.Join(n.bundles, id)
	cmd.Env = append(os.Environ(), tinyEnv+"="+n.kind, socketEnv+"="+n.sockets, "TTRPC_ADDRESS=/run/c.sock.ttrpc",
		"GORACE=atexit_sleep_ms=0") // of which each process would take 1000
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start calls start in the dialect of containerd 1.6 and returns the address.
func (n *node) start(id string, stdin []byte) (string, error) {
	cmd := n.command(id, "start")
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return string(out), nil
}

func (n *node) mustStart(id string) string {
	n.t.Helper()
	address, err := n.start(id, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return address
}

// params is what containerd 2.3 writes to start's stdin.
func (n *node) params(id string) *bootapi.BootstrapParams {
	return &bootapi.BootstrapParams{
		InstanceId: id, Namespace: testNamespace(), ContainerdVersion: "2.3.1",
		ContainerdGrpcAddress: "/run/c.sock", ContainerdTtrpcAddress: "/run/c.sock.ttrpc",
		ContainerdBinary: "/bin/true", SocketDir: n.sockets,
	}
}

// nothingLeft checks that there is no socket and no address file in the bundle
// of id, and no process.
func (n *node) nothingLeft(id string) {
	n.t.Helper()
	if left, _ := os.ReadDir(n.sockets); len(left) > 0 {
		n.t.Errorf("sockets left: %v", left)
	}
	left, err := filepath.Glob(filepath.Join(n.bundles, id, "*address*"))
	if hidden, _ := filepath.Glob(filepath.Join(n.bundles, id, ".*")); len(hidden) > 0 {
		left = append(left, hidden...)
	}
	if err != nil || len(left) > 0 {
		n.t.Errorf("files left: %v (%v)", left, err)
	}
	if pids := children(n.t); len(pids) > 0 {
		n.t.Errorf("processes left: %v", pids)
	}
}

// shimPid asks the shim behind an address who it is.
func shimPid(t *testing.T, address string) int {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := task.NewClient(client, 2).Connect(ctx, &task.ConnectRequest{Id: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return int(r.ShimPid)
}

// children lists this process's children, orphans that it got included.
func children(t *testing.T) []int {
	t.Helper()
	var pids []int
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("list children: %v", err)
	}
	for _, file := range tasks {
		b, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

func killChildren(t *testing.T) {
	for _, pid := range children(t) {
		killAndReap(pid)
	}
}

// eventually waits for what is bound to happen.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// testNamespace is containerd's namespace for all that these tests make. The
// OCI runtime's default root is the machine's, so it must be nobody else's.
func testNamespace() string { return "hftest" + strconv.Itoa(os.Getpid()) }
