package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// fakeShim is a program that writes down how it was called and does what script
// says then.
func fakeShim(t *testing.T, script string) (path, record string) {
	t.Helper()
	dir := t.TempDir()
	path, record = filepath.Join(dir, "shim"), filepath.Join(dir, "record")
	text := fmt.Sprintf("#!/bin/sh\npwd >%[1]s.cwd\nprintf '%%s\\n' \"$@\" >%[1]s.args\nenv >%[1]s.env\ncat >%[1]s.stdin\n%[2]s\n", record, script)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, record
}

func newLauncher(t *testing.T, d Dialect, script string) (*Launcher, *Bundle, string) {
	t.Helper()
	shim, record := fakeShim(t, script)
	l := &Launcher{
		Dialect: d, Shim: shim, Namespace: "ns", Address: "/run/d.sock", EventsAddress: "/run/d.sock.ttrpc",
		Daemon: "/usr/bin/daemon", SocketDir: "/run/x/s", Version: "2.3.4", State: t.TempDir(),
	}
	b, err := l.NewBundle("c1", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	return l, b, record
}

func recorded(t *testing.T, record, what string) string {
	t.Helper()
	b, err := os.ReadFile(record + "." + what)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What each generation of containerd does, from its sources: v1.6.20
// runtime/v2/shim/util.go, v2.2.0 pkg/shim/util.go, v2.3.0 pkg/shim/util.go.
func TestStartIsCalledAsEachDaemonDoes(t *testing.T) {
	options := &runcopts.Options{BinaryName: "crun"}
	packed, err := proto.Pack(options)
	if err != nil {
		t.Fatal(err)
	}
	asAny, err := packed.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dialect Dialect
		env     []string // besides the caller's
	}{
		{DialectAddress, []string{"GOMAXPROCS=2", "TTRPC_ADDRESS=/run/d.sock.ttrpc"}},
		{DialectJSON, []string{"GOMAXPROCS=2", "MAX_SHIM_VERSION=2", "TTRPC_ADDRESS=/run/d.sock.ttrpc", "GRPC_ADDRESS=/run/d.sock", "NAMESPACE=ns"}},
		{DialectBootstrap, []string{"GOMAXPROCS=2", "MAX_SHIM_VERSION=2", "TTRPC_ADDRESS=/run/d.sock.ttrpc", "GRPC_ADDRESS=/run/d.sock", "NAMESPACE=ns"}},
	} {
		t.Run(tt.dialect.String(), func(t *testing.T) {
			l, b, record := newLauncher(t, tt.dialect, "echo unix:///nowhere")
			for _, debug := range []bool{false, true} {
				l.Debug = debug
				if _, err := l.Start(t.Context(), b, options); err == nil {
					t.Fatal("connected to nowhere")
				}
				want := []string{"-namespace", "ns", "-address", "/run/d.sock", "-publish-binary", "/usr/bin/daemon", "-id", "c1"}
				if debug {
					want = append(want, "-debug")
				}
				want = append(want, "start")
				if got := strings.Fields(recorded(t, record, "args")); !slices.Equal(got, want) {
					t.Errorf("arguments %q, want %q", got, want)
				}
			}
			if got := strings.TrimSpace(recorded(t, record, "cwd")); got != b.Path {
				t.Errorf("directory %s, want %s", got, b.Path)
			}
			env := strings.Split(recorded(t, record, "env"), "\n")
			for _, kv := range tt.env {
				if !slices.Contains(env, kv) {
					t.Errorf("environment lacks %s", kv)
				}
			}
			if tt.dialect == DialectAddress && strings.Contains(strings.Join(env, "\n"), "MAX_SHIM_VERSION") {
				t.Error("an old daemon says MAX_SHIM_VERSION")
			}
			stdin := []byte(recorded(t, record, "stdin"))
			if tt.dialect != DialectBootstrap {
				if !bytes.Equal(stdin, asAny) {
					t.Errorf("stdin\n%s, want\n%s", hex.Dump(stdin), hex.Dump(asAny))
				}
				return
			}
			var p bootstrap.BootstrapParams
			if err := p.Unmarshal(stdin); err != nil {
				t.Fatal(err)
			}
			if p.InstanceId != "c1" || p.Namespace != "ns" || p.LogLevel != bootstrap.LogLevel_LOG_LEVEL_DEBUG ||
				p.ContainerdVersion != "2.3.4" || p.ContainerdTtrpcAddress != "/run/d.sock.ttrpc" ||
				p.ContainerdGrpcAddress != "/run/d.sock" || p.ContainerdBinary != "/usr/bin/daemon" || p.SocketDir != "/run/x/s" {
				t.Errorf("params %+v", &p)
			}
			var o runcopts.Options
			if len(p.Extensions) != 1 {
				t.Fatalf("extensions %v", p.Extensions)
			}
			if err := proto.Unpack(p.Extensions[0].Value, &o); err != nil || o.BinaryName != "crun" {
				t.Errorf("options %+v, %v", &o, err)
			}
		})
	}
}

func TestStartTellsWhatTheShimPrintedWhenItFails(t *testing.T) {
	l, b, _ := newLauncher(t, DialectAddress, "echo to stdout; echo to stderr >&2; exit 1")
	_, err := l.Start(t.Context(), b, nil)
	if err == nil || !strings.Contains(err.Error(), "to stdout") || !strings.Contains(err.Error(), "to stderr") {
		t.Errorf("error: %v", err)
	}
}

func TestAStrayLineBesideTheAddressIsNoAnswer(t *testing.T) {
	for _, d := range Dialects() {
		l, b, _ := newLauncher(t, d, "echo warning >&2; echo unix:///run/x")
		if _, err := l.Start(t.Context(), b, nil); !errors.Is(err, ErrAnswer) {
			t.Errorf("%v: error %v", d, err)
		}
	}
}

func TestAStartThatTakesTooLongIsKilled(t *testing.T) {
	l, b, record := newLauncher(t, DialectAddress, "exec sleep 1000")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("enough")
	go func() {
		for {
			if _, err := os.Stat(record + ".stdin"); err == nil {
				cancel(why)
				return
			}
		}
	}()
	if _, err := l.Start(ctx, b, nil); !errors.Is(err, why) {
		t.Errorf("error: %v", err)
	}
}

func TestDeleteIsCalledAsADaemonDoesAndItsAnswerRead(t *testing.T) {
	answer := task.DeleteResponse{Pid: 7, ExitStatus: 137, ExitedAt: &wkt.Timestamp{Seconds: 5}}
	wire, err := answer.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Dialects() {
		l, b, record := newLauncher(t, d, "echo warning >&2; printf '"+octalText(wire)+"'")
		var log bytes.Buffer
		l.Log = &log
		got, err := l.Delete(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if got.Pid != 7 || got.ExitStatus != 137 || got.ExitedAt.AsTime().Unix() != 5 {
			t.Errorf("answer %+v", got)
		}
		want := "-namespace ns -address /run/d.sock -publish-binary /usr/bin/daemon -id c1 -bundle " + b.Path + " delete"
		if args := strings.Join(strings.Fields(recorded(t, record, "args")), " "); args != want {
			t.Errorf("arguments %q, want %q", args, want)
		}
		if stdin := recorded(t, record, "stdin"); stdin != "" {
			t.Errorf("stdin %q", stdin)
		}
		if log.String() != "warning\n" {
			t.Errorf("log %q", &log)
		}
	}
}

// octalText is bytes as printf(1) takes them.
func octalText(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		fmt.Fprintf(&s, `\%03o`, c)
	}
	return s.String()
}

func TestDeleteWithAnAnswerThatIsNoneFails(t *testing.T) {
	l, b, _ := newLauncher(t, DialectAddress, "echo hello")
	if _, err := l.Delete(t.Context(), b); err == nil {
		t.Error("no error")
	}
}

func TestInfoGivesTheOptionsOnStdin(t *testing.T) {
	l, _, record := newLauncher(t, DialectBootstrap, `printf '\012\004name'`)
	info, err := l.Info(t.Context(), &runcopts.Options{BinaryName: "crun"})
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != "name" {
		t.Errorf("info %+v", info)
	}
	if args := strings.TrimSpace(recorded(t, record, "args")); args != "-info" {
		t.Errorf("arguments %q", args)
	}
	var any wkt.Any
	var o runcopts.Options
	if err := any.Unmarshal([]byte(recorded(t, record, "stdin"))); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unpack(&any, &o); err != nil || o.BinaryName != "crun" {
		t.Errorf("options %+v, %v", &o, err)
	}
}
