package containerd

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestTheShimIsChosenByName(t *testing.T) {
	for _, name := range []string{"io.containerd.runc.v2", "io.containerd.holdfast.v2"} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			d.runWith([]string{"--runtime", name}, "c", "sleep", "1000")
			if s := d.exec("c", "x", "sh", "-c", "exit 4"); s.code() != 4 {
				t.Errorf("exec: exit code %d: %s", s.code(), s.Err)
			}
			if info := d.must("container", "info", "c"); !strings.Contains(info, `"`+name+`"`) {
				t.Errorf("the container's runtime is not %s:\n%s", name, info)
			}
			d.kill()
			d.up()
			d.shimOf("c")
			d.finish("c")
		})
	}
}

func TestTheShimIsChosenByPath(t *testing.T) {
	d := start(t)
	d.run("proof", "sleep", "1000")
	// Where PATH does not lead, and under a name that is nobody's.
	path := filepath.Join(d.dir, "elsewhere")
	binary, err := os.ReadFile(d.shim)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	d.must(d.runArgs([]string{"-d", "--runtime", path}, "c", "sleep", "1000")...)
	shim := d.shimAt("c", path)
	d.kill()
	d.up()
	if got := d.shimAt("c", path); got != shim {
		t.Errorf("the shim was %d and is %d", shim, got)
	}
	if s := d.exec("c", "x", "sh", "-c", "exit 4"); s.code() != 4 {
		t.Errorf("exec: exit code %d: %s", s.code(), s.Err)
	}
	d.finish("c")
	d.finish("proof")
}

func TestTheRuntimeIsChosenByItsPath(t *testing.T) {
	d := start(t)
	runc, err := exec.LookPath("runc")
	if err != nil {
		t.Fatal(err)
	}
	root, calls := filepath.Join(d.dir, "runtime"), filepath.Join(d.dir, "calls")
	path := filepath.Join(d.dir, "my-runtime")
	script := "#!/bin/sh\necho \"$*\" >>" + calls + "\nexec " + runc + " \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	d.runWith([]string{"--runc-binary", path, "--runc-root", root}, "c", "sleep", "1000")
	if names := harness.Names(filepath.Join(root, d.namespace)); !slices.Equal(names, []string{"c"}) {
		t.Errorf("the runtime's root has %q, want c", names)
	}
	if s := d.exec("c", "x", "sh", "-c", "echo in; exit 4"); s.code() != 4 || s.Out.String() != "in\n" {
		t.Errorf("exec: exit code %d, %q, %s", s.code(), s.Out, s.Err)
	}
	d.finish("c")
	if names := harness.Names(filepath.Join(root, d.namespace)); len(names) > 0 {
		t.Errorf("left to the runtime: %q", names)
	}
	b, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{" create ", " start ", " exec ", " delete "} {
		if !strings.Contains(string(b), verb) {
			t.Errorf("the runtime was not called for%s:\n%s", verb, b)
		}
	}
	d.story("c", "create", "start", "exec-added x", "exec-started x", "exit x 4", "exit 137", "delete 137")
	d.refused("not-a-runtime", d.runArgs([]string{"-d", "--runc-binary", "/bin/not-a-runtime"}, "c2", "true")...)
	d.ctr("container", "rm", "c2") // ctr itself may have done so
}

// Only its state is asked for: the exec of `ctr shim` names the container by the
// exec's id, and its delete names none.
func TestCtrSpeaksToTheShimDirectly(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	task, _ := d.task("c")
	state := func(want map[string]any) {
		t.Helper()
		got := make(map[string]any)
		text := d.must("shim", "--id", "c", "state")
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s is %v, want %v:\n%s", k, got[k], v, text)
			}
		}
	}
	state(map[string]any{"id": "c", "bundle": d.bundle("c"), "pid": float64(task.pid), "status": 2.0})
	d.must("task", "kill", "-s", "KILL", "c")
	d.stopped("c")
	state(map[string]any{"status": 3.0, "exit_status": 137.0})
	d.remove("c")
	d.refused("", "shim", "--id", "c", "state")
}
