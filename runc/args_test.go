package runc

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The command lines are a contract with every runtime that is called runc:
// wrappers parse them.
func TestEachVerbHasItsCommandLine(t *testing.T) {
	s := newStub(t, faults{"*": {"exit": 0}, "state": {"stdout": "{}", "exit": 0}})
	ctx := context.Background()
	image := filepath.Join(s.Bundle, "img")
	if err := os.Mkdir(image, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write("img/"+inventory, "") // as if it were done
	all := CheckpointOpts{
		ImagePath: image, WorkPath: "/work", ParentPath: "../parent", LeaveRunning: true, OpenTCP: true,
		ExternalUnixSockets: true, Terminal: true, FileLocks: true, EmptyNamespaces: []string{"network", "ipc"}, CgroupsMode: "soft",
	}
	for _, test := range []struct {
		name string
		call func() error
		own  bool // the log is the call's own
		want string
	}{
		{"create", func() error { return s.Create(ctx, CreateOpts{PidFile: "/b/init.pid"}) }, false,
			"create --bundle BUNDLE --pid-file /b/init.pid c1"},
		{"create with everything", func() error {
			return s.Create(ctx, CreateOpts{IO: IO{ConsoleSocket: "pty.sock"}, PidFile: "/b/init.pid", NoPivot: true, NoNewKeyring: true})
		}, false, "create --bundle BUNDLE --pid-file /b/init.pid --console-socket pty.sock --no-pivot --no-new-keyring c1"},
		{"start", func() error { return s.Start(ctx) }, false, "start c1"},
		{"exec", func() error { return s.Exec(ctx, ExecOpts{ProcessFile: "/b/e1.json", PidFile: "/b/e1.pid"}) }, true,
			"exec --process /b/e1.json --detach --pid-file /b/e1.pid c1"},
		{"exec with a console", func() error {
			return s.Exec(ctx, ExecOpts{IO: IO{ConsoleSocket: "e1.sock"}, ProcessFile: "/b/e1.json", PidFile: "/b/e1.pid"})
		}, true, "exec --process /b/e1.json --detach --pid-file /b/e1.pid --console-socket e1.sock c1"},
		{"kill", func() error { return s.Kill(ctx, 15, false) }, true, "kill c1 15"},
		{"kill all", func() error { return s.Kill(ctx, 9, true) }, true, "kill --all c1 9"},
		{"delete", func() error { return s.Delete(ctx, false) }, false, "delete c1"},
		{"delete with force", func() error { return s.Delete(ctx, true) }, false, "delete --force c1"},
		{"state", func() error { _, err := s.State(ctx); return err }, true, "state c1"},
		{"pause", func() error { return s.Pause(ctx) }, false, "pause c1"},
		{"resume", func() error { return s.Resume(ctx) }, false, "resume c1"},
		{"update", func() error { return s.Update(ctx, []byte("{}")) }, false, "update --resources - c1"},
		{"checkpoint", func() error { return s.Checkpoint(ctx, CheckpointOpts{ImagePath: image}) }, false, "checkpoint --image-path BUNDLE/img c1"},
		{"checkpoint with everything", func() error { return s.Checkpoint(ctx, all) }, false,
			"checkpoint --image-path BUNDLE/img --work-path /work --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode soft --empty-ns network --empty-ns ipc --parent-path ../parent --leave-running c1"},
		{"restore", func() error {
			return s.Restore(ctx, RestoreOpts{CheckpointOpts: CheckpointOpts{ImagePath: image}, PidFile: "/b/init.pid"})
		}, false, "restore --image-path BUNDLE/img --detach --bundle BUNDLE --pid-file /b/init.pid c1"},
		{"restore with everything", func() error {
			return s.Restore(ctx, RestoreOpts{CheckpointOpts: all, IO: IO{ConsoleSocket: "pty.sock"}, PidFile: "/b/init.pid", NoPivot: true})
		}, false, "restore --image-path BUNDLE/img --work-path /work --tcp-established --ext-unix-sk --shell-job --file-locks --manage-cgroups-mode soft --empty-ns network --empty-ns ipc --detach --bundle BUNDLE --pid-file /b/init.pid --console-socket pty.sock --no-pivot c1"},
		{"features", func() error { _, err := s.Features(ctx); return err }, true, "features"},
	} {
		for _, systemd := range []bool{false, true} {
			s.SystemdCgroup = systemd
			if err := test.call(); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			calls := s.calls()
			got := calls[len(calls)-1]
			if got.Dir != s.Bundle {
				t.Errorf("%s: ran in %s, want the bundle", test.name, got.Dir)
			}
			want := []string{stubBinary, "--root", "/nowhere/root", "--log", s.file("log.json"), "--log-format", "json"}
			if systemd {
				want = append(want, "--systemd-cgroup")
			}
			want = append(want, strings.Fields(strings.ReplaceAll(test.want, "BUNDLE", s.Bundle))...)
			if test.own {
				log := filepath.Base(got.Args[4])
				if filepath.Dir(got.Args[4]) != s.Bundle || !strings.HasPrefix(log, "log-") || !strings.HasSuffix(log, ".json") {
					t.Errorf("%s: logs to %s, want a file of its own in the bundle", test.name, got.Args[4])
				}
				want[4] = got.Args[4]
			}
			if !slices.Equal(got.Args, want) {
				t.Errorf("%s:\n got %q\nwant %q", test.name, got.Args, want)
			}
		}
	}
}

func TestTheRuntimeGetsTheShimsEnvironmentWithoutTheShimsOwnBusiness(t *testing.T) {
	shim := []string{"PATH=/bin:/usr/bin", "HOME=/root", "GOMAXPROCS=2", "NO_PROXY=x", "EMPTY=", "NAMESPACES=kept"}
	own := []string{
		"NOTIFY_SOCKET=/s", "LISTEN_FDS=3", "LISTEN_PID=1", "LISTEN_FDNAMES=a", "TTRPC_ADDRESS=/t", "GRPC_ADDRESS=/g",
		"NAMESPACE=k8s.io", "MAX_SHIM_VERSION=2", "SCHED_CORE=1", "OTEL_SERVICE_NAME=containerd", "HOLDFAST_RUNC_TIMEOUT=1s",
	}
	if got := environ(slices.Concat(own[:5], shim, own[5:])); !slices.Equal(got, shim) {
		t.Errorf("got %q, want %q", got, shim)
	}
	got := environ([]string{ProcsEnv + "=2", "GOMAXPROCS=1", "PATH=/bin"})
	if want := []string{"PATH=/bin", "GOMAXPROCS=2"}; !slices.Equal(got, want) {
		t.Errorf("of a shim with a GOMAXPROCS of its own: got %q, want %q", got, want)
	}

	t.Setenv("NOTIFY_SOCKET", "/s")
	t.Setenv("STUB_KEEPS", "this")
	s := newStub(t, faults{"*": {"exit": 0}})
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	env := s.calls()[0].Env
	if !slices.Contains(env, "STUB_KEEPS=this") || !slices.Contains(env, "PATH="+os.Getenv("PATH")) {
		t.Errorf("variables are missing: %q", env)
	}
	if slices.ContainsFunc(env, func(kv string) bool { return strings.HasPrefix(kv, "NOTIFY_SOCKET=") }) {
		t.Errorf("NOTIFY_SOCKET is there: %q", env)
	}
}

// script is a runtime that is a shell script.
func script(t *testing.T, text string) *Runtime {
	t.Helper()
	noLeaks(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return &Runtime{Binary: file, Bundle: dir, ID: "c1", Reaper: children}
}

func TestUpdateHandsTheResourcesOverWhateverTheirSize(t *testing.T) {
	r := script(t, "cat >resources")
	want := bytes.Repeat([]byte(`{"unified":"0123456789"}`), 10_000) // more than a pipe holds
	if err := r.Update(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(r.Bundle, "resources"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the runtime read %d bytes, want %d", len(got), len(want))
	}
}

func TestUpdateDoesNotWaitForARuntimeThatDoesNotRead(t *testing.T) {
	r := script(t, "exit 0")
	if err := r.Update(context.Background(), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
}

func TestTheContainerGetsExactlyItsStdio(t *testing.T) {
	r := script(t, `
		readlink /proc/$$/fd/0 >link
		echo out; echo err >&2`)
	dir := t.TempDir()
	var files [3]*os.File
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	if err := r.Create(context.Background(), CreateOpts{IO: IO{Stdin: files[0], Stdout: files[1], Stderr: files[2]}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"stdout": "out\n", "stderr": "err\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q (%v), want %q", name, got, err, want)
		}
	}
	link, err := os.ReadFile(filepath.Join(r.Bundle, "link"))
	if err != nil || string(link) != filepath.Join(dir, "stdin")+"\n" {
		t.Errorf("stdin is %q (%v)", link, err)
	}
}

func TestAContainerWithoutStdioHasDevNullAndNoPipeOfOurs(t *testing.T) {
	r := script(t, `(for n in 0 1 2; do readlink /proc/$$/fd/$n; done) >links`)
	if err := r.Create(context.Background(), CreateOpts{}); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("/dev/null\n", 3)
	if got, err := os.ReadFile(filepath.Join(r.Bundle, "links")); err != nil || string(got) != want {
		t.Errorf("stdio is %q (%v)", got, err)
	}
}
