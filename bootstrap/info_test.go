package bootstrap

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// info calls -info, in no bundle, as containerd does.
func info(t *testing.T, stdin []byte) (*types.RuntimeInfo, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-info")
	cmd.Args[0] = "/usr/local/bin/containerd-shim-holdfast-v2"
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), tinyEnv+"="+both, "GORACE=atexit_sleep_ms=0")
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if len(out) > 0 || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("failed with %q on stdout and %q on stderr", out, stderr.String())
		}
		return nil, err
	}
	if stderr.Len() > 0 {
		t.Errorf("said %q", stderr.String())
	}
	i := new(types.RuntimeInfo)
	if err := i.Unmarshal(out); err != nil {
		t.Fatalf("answered %q: %v", out, err)
	}
	return i, nil
}

func TestInfoOfTheDefaultRuntime(t *testing.T) {
	i, err := info(t, nil)
	if err != nil {
		t.Fatal(err)
	}
	if i.Name != "io.containerd.holdfast.v2" || i.Version.Version != "dev" || i.Options != nil {
		t.Errorf("answered %+v", i)
	}
	var features struct {
		OCIVersionMin string `json:"ociVersionMin"`
		Linux         struct{ Namespaces []string }
	}
	if i.Features == nil || i.Features.TypeUrl != "types.containerd.io/opencontainers/runtime-spec/1/features/Features" {
		t.Fatalf("features %+v", i.Features)
	}
	if err := json.Unmarshal(i.Features.Value, &features); err != nil || features.OCIVersionMin == "" || len(features.Linux.Namespaces) == 0 {
		t.Errorf("features %s, %v", i.Features.Value, err)
	}
}

func TestInfoAsksTheRuntimeInTheOptions(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ name, binary, features string }{
		{"one that can say", script("can", `echo '{"ociVersionMin":"1.0.0"}'`), `{"ociVersionMin":"1.0.0"}`},
		{"runc before 1.1", script("old", `echo "No help topic for 'features'" >&2; exit 3`), ""},
		{"one that says something else", script("odd", `echo usage: odd`), ""},
		{"one that hangs", script("hung", `exec sleep 100000`), ""},
		{"crun before 1.8.6", "crun", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			i, err := info(t, marshal(t, pack(t, &runcopts.Options{BinaryName: c.binary, Root: "/r"})))
			if err != nil {
				t.Fatal(err)
			}
			var o runcopts.Options
			if i.Options == nil || o.Unmarshal(i.Options.Value) != nil || o.BinaryName != c.binary || o.Root != "/r" {
				t.Errorf("options %+v", i.Options)
			}
			if c.features == "" {
				if i.Features != nil {
					t.Errorf("features %s", i.Features.Value)
				}
			} else if i.Features == nil || strings.TrimSpace(string(i.Features.Value)) != c.features {
				t.Errorf("features %+v", i.Features)
			}
			if d := time.Since(began); d > time.Minute {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestInfoFails(t *testing.T) {
	if _, err := info(t, []byte("hello")); err == nil {
		t.Error("with garbage on stdin: no error")
	}
	if _, err := info(t, marshal(t, pack(t, &runcopts.Options{BinaryName: "/no/such/runtime"}))); err == nil {
		t.Error("with a runtime that is not there: no error")
	}
	if i, err := info(t, marshal(t, &wkt.Any{TypeUrl: "runtimeoptions.v1.Options", Value: []byte("\x0a\x01x")})); err != nil || i.Options != nil {
		t.Errorf("with another shim's options: %+v, %v", i, err)
	}
}

func TestInfoDoesNotWaitForATerminal(t *testing.T) {
	master, slave := pty(t)
	defer master.Close()
	defer slave.Close()
	cmd := exec.Command("/proc/self/exe", "-info")
	cmd.Env = append(os.Environ(), tinyEnv+"="+both)
	cmd.Stdin = slave
	if out, err := cmd.Output(); err != nil || len(out) == 0 {
		t.Errorf("answered %q, %v", out, err)
	}
}

func TestTheRuntimesNameIsThatOfTheFile(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/local/bin/containerd-shim-holdfast-v2": "io.containerd.holdfast.v2",
		"containerd-shim-runc-v2":                    "io.containerd.runc.v2",
		"containerd-shim-a-b-v1":                     "io.containerd.a-b.v1",
		"holdfast":                                   "io.containerd.runc.v2",
		"containerd-shim-":                           "io.containerd.runc.v2",
		"containerd-shim-x":                          "io.containerd.runc.v2",
		"containerd-shim-x-":                         "io.containerd.runc.v2",
		"":                                           "io.containerd.runc.v2",
	} {
		if got := runtimeName(program); got != want {
			t.Errorf("%q: %s", program, got)
		}
	}
}
