package bootstrap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-shim/holdfast/proto"
	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/runtimeopts"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
)

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheDialectIsDecidedByWhoAsks(t *testing.T) {
	var (
		flags   = Flags{Namespace: "ns", ID: "c1", Address: "/run/grpc.sock", PublishBinary: "/usr/bin/containerd"}
		options = &runcopts.Options{BinaryName: "crun", ShimCgroup: "/shims"}
		boxed   = &wkt.Any{TypeUrl: options.TypeURL(), Value: marshal(t, options)}
		hosted  = &wkt.Any{TypeUrl: "types.containerd.io/" + options.TypeURL(), Value: boxed.Value}
		foreign = &wkt.Any{TypeUrl: "another.v1.Options", Value: []byte("\x0a\x01x")}
		section = &wkt.Any{TypeUrl: "runtimeoptions.v1.Options", Value: marshal(t, &runtimeopts.Options{
			ConfigBody: []byte("BinaryName = 'crun'\nShimCgroup = '/shims'\n"),
		})}
		old    = environ{"TTRPC_ADDRESS=/run/ttrpc.sock"}
		newer  = environ{"TTRPC_ADDRESS=/run/ttrpc.sock", "MAX_SHIM_VERSION=2"}
		params = &bootapi.BootstrapParams{
			InstanceId: "c1", Namespace: "ns", ContainerdGrpcAddress: "/p/grpc", ContainerdTtrpcAddress: "/p/ttrpc",
			ContainerdBinary: "/p/containerd", SocketDir: "/p/s", LogLevel: bootapi.LogLevel_LOG_LEVEL_TRACE,
			Extensions: []*bootapi.Extension{nil, {}, {Value: foreign}, {Value: hosted}, {Value: boxed}},
		}
		none = &runcopts.Options{}
	)
	but := func(change func(*bootapi.BootstrapParams)) []byte {
		p := *params
		change(&p)
		return marshal(t, &p)
	}
	for _, c := range []struct {
		name  string
		input []byte
		env   environ
		want  request
	}{
		{"1.6, nothing on stdin", nil, old,
			request{dialect: plainAddress, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: none}},
		{"1.6, options", marshal(t, boxed), old,
			request{dialect: plainAddress, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: options}},
		{"1.7, nothing on stdin", nil, newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: none}},
		{"1.7, options", marshal(t, hosted), newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: options}},
		{"1.7, a section of its configuration", marshal(t, section), newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: options}},
		{"2.0, another shim's options", marshal(t, foreign), newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: none}},
		{"2.3", marshal(t, params), newer,
			request{dialect: bootstrapResult, grpcAddress: "/p/grpc", ttrpcAddress: "/p/ttrpc", publishBinary: "/p/containerd", socketDir: "/p/s", level: -8, options: options}},
		{"2.3, the least", marshal(t, &bootapi.BootstrapParams{InstanceId: "c1", Namespace: "ns"}), newer,
			request{dialect: bootstrapResult, options: none}},
		{"params for another container", but(func(p *bootapi.BootstrapParams) { p.InstanceId = "c2" }), newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: none}},
		{"params for another namespace", but(func(p *bootapi.BootstrapParams) { p.Namespace = "other" }), newer,
			request{dialect: jsonParams, grpcAddress: "/run/grpc.sock", ttrpcAddress: "/run/ttrpc.sock", publishBinary: "/usr/bin/containerd", options: none}},
	} {
		got, err := understand(c.input, flags, c.env)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", c.name, got, err, c.want)
		}
	}
}

// A container may be called like the type of the options, which then parse as
// parameters for it.
func TestOptionsAreNotTakenForParams(t *testing.T) {
	options := &runcopts.Options{BinaryName: "crun"}
	f := Flags{Namespace: "ns", ID: options.TypeURL()}
	input := marshal(t, &wkt.Any{TypeUrl: options.TypeURL(), Value: marshal(t, options)})
	r, err := understand(input, f, nil)
	if err != nil || r.dialect != plainAddress || r.options.BinaryName != "crun" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestDebugComesFromEitherSide(t *testing.T) {
	f := Flags{Namespace: "ns", ID: "c1", Debug: true}
	for _, input := range [][]byte{nil, marshal(t, &bootapi.BootstrapParams{InstanceId: "c1", Namespace: "ns", LogLevel: bootapi.LogLevel_LOG_LEVEL_ERROR})} {
		r, err := understand(input, f, nil)
		if err != nil || r.level != bootapi.LogLevel_LOG_LEVEL_DEBUG {
			t.Errorf("level %d, %v", r.level, err)
		}
	}
	f.Debug = false
	r, err := understand(marshal(t, &bootapi.BootstrapParams{InstanceId: "c1", Namespace: "ns", LogLevel: -5}), f, nil)
	if args := servingArgs(f, r); err != nil || args[len(args)-1] != "-debug" {
		t.Errorf("%q, %v", args, err)
	}
	r.level = bootapi.LogLevel_LOG_LEVEL_WARN
	if args := servingArgs(f, r); args[len(args)-1] == "-debug" {
		t.Errorf("%q", args)
	}
}

func TestStdinIsReadToItsBound(t *testing.T) {
	if b, err := readInput(bytes.NewReader(make([]byte, maxInput))); err != nil || len(b) != maxInput {
		t.Errorf("10 MiB: %d bytes, %v", len(b), err)
	}
	endless := iotest.DataErrReader(zeros{})
	if _, err := readInput(endless); !errors.Is(err, ErrInputTooLarge) {
		t.Errorf("without end: %v", err)
	}
	if b, err := readInput(nil); len(b) > 0 || err != nil {
		t.Errorf("no stdin: %q, %v", b, err)
	}
	if b, err := readInput((*os.File)(nil)); len(b) > 0 || err != nil {
		t.Errorf("no stdin: %q, %v", b, err)
	}
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if b, err := readInput(closed); len(b) > 0 || err != nil {
		t.Errorf("closed: %q, %v", b, err)
	}
	if _, err := readInput(iotest.ErrReader(io.ErrNoProgress)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("failing: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestTheShimsEnvironment(t *testing.T) {
	given := environ{
		"PATH=/bin", "NAMESPACE=x", "TTRPC_ADDRESS=x", "GRPC_ADDRESS=x", "MAX_SHIM_VERSION=2", "SCHED_CORE=1",
		"NOTIFY_SOCKET=x", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=a", "WATCHDOG_USEC=1", "WATCHDOG_PID=1",
		"OTEL_SERVICE_NAME=x", "odd", "",
	}
	r := request{grpcAddress: "/g", ttrpcAddress: "/t", level: 8}
	want := "PATH=/bin SCHED_CORE=1 OTEL_SERVICE_NAME=x odd  NAMESPACE=ns TTRPC_ADDRESS=/t GRPC_ADDRESS=/g GOMAXPROCS=1 " + runc.ProcsEnv + "=2 " + LogLevelEnv + "=8"
	if got := strings.Join(given.forServing(r, "ns"), " "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	given = environ{"GOMAXPROCS=7", LogLevelEnv + "=-4"}
	if got := strings.Join(given.forServing(request{level: 8}, "ns"), " "); got != LogLevelEnv+"=-4 NAMESPACE=ns GOMAXPROCS=1 "+runc.ProcsEnv+"=7" {
		t.Errorf("%s", got)
	}
	if got := (environ{"A=1", "A=2=3", "AB=4"}).get("A"); got != "2=3" {
		t.Errorf("A=%s", got)
	}
}

func FuzzStartInput(f *testing.F) {
	options := &runcopts.Options{BinaryName: "crun"}
	f.Add([]byte(nil))
	f.Add(marshal(f, &wkt.Any{TypeUrl: options.TypeURL(), Value: marshal(f, options)}))
	f.Add(marshal(f, &bootapi.BootstrapParams{
		InstanceId: "c1", Namespace: "ns", SocketDir: "/s",
		Extensions: []*bootapi.Extension{{Value: &wkt.Any{TypeUrl: options.TypeURL(), Value: marshal(f, options)}}},
	}))
	wrong, _ := hex.DecodeString("0a026331120200ff")
	f.Add(wrong)
	f.Fuzz(func(t *testing.T, input []byte) {
		flags := Flags{Namespace: "ns", ID: "c1", Address: "/a"}
		r, err := understand(input, flags, environ{"MAX_SHIM_VERSION=2"})
		if err != nil {
			if !errors.Is(err, ErrInput) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if r.options == nil {
			t.Fatal("nil options")
		}
		var p bootapi.BootstrapParams
		meant := p.Unmarshal(input) == nil && p.InstanceId == "c1" && p.Namespace == "ns"
		if meant != (r.dialect == bootstrapResult) {
			t.Fatalf("dialect %d", r.dialect)
		}
		if path, err := socketPath(r.socketDir, r.grpcAddress, "ns", "c1"); err == nil && (len(path) > maxSocketPath || path[0] != '/') {
			t.Fatalf("socket path %q", path)
		}
		for _, v := range []int{2, 3} {
			if _, err := answer(r.dialect, "unix:///x", v); err != nil {
				t.Fatal(err)
			}
		}
	})
}
