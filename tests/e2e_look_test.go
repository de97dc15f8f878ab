package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// seen is what the tool's JSON tells of a container.
type seen struct {
	Namespace, ID, Bundle, Status, Error string
	Pid                                  int
	Shim                                 *struct {
		Pid, Threads, Files int
		Program, Address    string
		Anonymous           int64 `json:"anonymous_bytes"`
	}
	Stdio      struct{ Stdout string }
	ExitStatus *uint32 `json:"exit_status"`
	Processes  []struct {
		Pid    int
		ExecID string `json:"exec_id"`
	}
	Stats struct {
		Pids struct{ Current int }
	}
}

// look runs the tool on the containers of one daemon.
func look(t *testing.T, d *harness.Daemon, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(d.Ctx(), harness.Tool(t), args[0], "--namespace", d.Namespace, "--timeout", harness.Patience.String())
	cmd.Args = append(cmd.Args, args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

// list is what `ps --json` tells, by id.
func list(t *testing.T, d *harness.Daemon, args ...string) map[string]seen {
	t.Helper()
	code, out, errOut := look(t, d, append([]string{"ps", "--json"}, args...)...)
	var all []seen
	if err := json.Unmarshal([]byte(out), &all); err != nil || code != 0 || errOut != "" {
		t.Fatalf("code %d, stderr %q, %v:\n%s", code, errOut, err, out)
	}
	byID := map[string]seen{}
	for _, s := range all {
		byID[s.ID] = s
	}
	return byID
}

func TestPsTellsOfEveryContainerAndItsShim(t *testing.T) {
	d := harness.New(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "1000"}})
	pod.Start()
	app := d.CreateWant(harness.Want{ID: "app", Args: []string{"sleep", "1000"}, Sandbox: pod})
	paused := d.CreateWant(harness.Want{ID: "paused", Args: []string{"sleep", "1000"}})
	paused.Start()
	if _, err := paused.Shim.Task.Pause(d.Ctx(), &task.PauseRequest{Id: "paused"}); err != nil {
		t.Fatal(err)
	}
	stopped := d.CreateWant(harness.Want{ID: "stopped", Args: []string{"true"}})
	stopped.Start()
	stopped.Wait()

	all := list(t, d)
	for _, tt := range []struct {
		c      *harness.Container
		status string
	}{{pod, "running"}, {app, "created"}, {paused, "paused"}, {stopped, "stopped"}} {
		s, ok := all[tt.c.ContainerID]
		if !ok || s.Status != tt.status || s.Error != "" || s.Namespace != d.Namespace || s.Bundle != tt.c.Bundle.Path {
			t.Errorf("%s: %+v, want it %s", tt.c.ContainerID, s, tt.status)
			continue
		}
		if h := tt.c.HoldShim(); s.Shim == nil || s.Shim.Pid != h.Pid() || s.Shim.Threads < 1 || s.Shim.Files < 3 || s.Shim.Anonymous < 100e3 ||
			filepath.Base(s.Shim.Program) != filepath.Base(harness.Shim(t)) || s.Shim.Address != tt.c.Shim.Endpoint.Address {
			t.Errorf("%s: shim %+v, want that of %d", tt.c.ContainerID, s.Shim, h.Pid())
		}
	}
	if len(all) != 4 {
		t.Errorf("%d containers: %v", len(all), all)
	}
	if state, err := pod.State(d.Ctx()); err != nil || all["pod"].Pid != int(state.Pid) {
		t.Errorf("pid %d, want that of %v, %v", all["pod"].Pid, state, err)
	}

	code, out, errOut := look(t, d, "ps")
	for _, want := range []string{"NAMESPACE ", "3 shims of ", " with 4 containers: "} {
		if !strings.Contains(out, want) || code != 0 || errOut != "" {
			t.Errorf("code %d, stderr %q, without %q:\n%s", code, errOut, want, out)
		}
	}

	if _, err := paused.Shim.Task.Resume(d.Ctx(), &task.ResumeRequest{Id: "paused"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*harness.Container{app, paused, stopped, pod} {
		c.Finish()
	}
	if left := list(t, d); len(left) != 0 {
		t.Errorf("of no containers there are %v", left)
	}
}

// A shim that is stuck is what an operator looks for: it must be seen, and hold up
// nothing else.
func TestPsTellsOfShimsThatAreStuckOrGone(t *testing.T) {
	d := harness.New(t)
	var stuck []*harness.Container
	for i := range 3 {
		c := d.CreateWant(harness.Want{ID: fmt.Sprintf("stuck%d", i), Args: []string{"sleep", "1000"}})
		c.Start()
		stuck = append(stuck, c)
	}
	gone, well := d.CreateWant(harness.Want{ID: "gone", Args: []string{"sleep", "1000"}}), d.CreateWant(harness.Want{ID: "well", Args: []string{"sleep", "1000"}})
	gone.Start()
	well.Start()
	gone.KillShim()
	var holds []*client.Hold
	for _, c := range stuck {
		h := c.HoldShim()
		if err := h.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		holds = append(holds, h)
	}

	all := list(t, d, "--state", d.State, "--timeout", "4s")
	for id, want := range map[string]string{"stuck0": "no answer", "stuck1": "no answer", "stuck2": "no answer", "gone": "no shim", "well": "running"} {
		if s := all[id]; s.Status != want || (s.Error == "") != (want == "running") {
			t.Errorf("%s: %+v, want %q", id, s, want)
		}
	}
	if code, out, errOut := look(t, d, "inspect", "--state", d.State, "gone"); code != 125 || !strings.Contains(out, "no shim") || strings.Count(errOut, "\n") != 1 {
		t.Errorf("inspect: code %d, %q, stderr %q", code, out, errOut)
	}

	for _, h := range holds {
		if err := h.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	gone.Cleanup()
	for _, c := range append(stuck, well) {
		c.Finish()
	}
}

// `start` has been run, and Create is still to come or has failed.
func TestPsTellsOfAShimThatDoesNotHaveTheContainer(t *testing.T) {
	d := harness.New(t)
	b, err := d.NewBundle("empty", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Launcher.Start(d.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, d)["empty"]; got.Status != "no task" || got.Shim == nil {
		t.Errorf("%+v", got)
	}
	if err := s.Shutdown(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	<-s.Closed()
	if err := b.Delete(); err != nil {
		t.Fatal(err)
	}
}

func TestInspectTellsOfProcessesStatsAndTheEnd(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{ID: "inspected-1", Args: []string{"sleep", "1000"}})
	c.Start()
	other := d.CreateWant(harness.Want{ID: "inspected-2", Args: []string{"sleep", "1000"}})
	other.Start()
	e := c.Exec("e1", "sleep", "1000")
	pid := e.Start()

	inspect := func(id string) (s seen) {
		t.Helper()
		code, out, errOut := look(t, d, "inspect", id)
		if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 || errOut != "" {
			t.Fatalf("code %d, stderr %q, %v:\n%s", code, errOut, err, out)
		}
		return s
	}
	s := inspect("inspected-1")
	if s.Status != "running" || s.Stdio.Stdout != c.IO.Stdout || s.Stats.Pids.Current != 2 || s.ExitStatus != nil {
		t.Errorf("%+v", s)
	}
	execs := map[int]string{}
	for _, p := range s.Processes {
		execs[p.Pid] = p.ExecID
	}
	if len(execs) != 2 || execs[pid] != "e1" {
		t.Errorf("processes %v, want %d to be e1", execs, pid)
	}

	for _, id := range []string{"inspected", "inspected-3", ""} {
		code, out, errOut := look(t, d, "inspect", id)
		if code != 125 || out != "" || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%q: code %d, %q, stderr %q", id, code, out, errOut)
		}
	}

	c.Kill(syscall.SIGKILL)
	c.Wait()
	if s := inspect("inspected-1"); s.Status != "stopped" || s.ExitStatus == nil || *s.ExitStatus != 137 {
		t.Errorf("%+v", s)
	}
	e.Delete()
	c.Finish()
	if s := inspect("insp"); s.ID != "inspected-2" {
		t.Errorf("the only one whose id begins so is %q", s.ID)
	}
	other.Finish()
}

func TestPsRefusesBadInputInOneLine(t *testing.T) {
	d := harness.New(t)
	for _, args := range [][]string{
		{"ps", "--no-such-flag"},
		{"ps", "argument"},
		{"ps", "--state", "/no/such/directory"},
		{"ps", "--state", "/etc/passwd"},
		{"ps", "--timeout", "0s"},
		{"inspect"},
		{"inspect", "one", "two"},
	} {
		code, out, errOut := look(t, d, args...)
		if code != 125 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.HasPrefix(errOut, "holdfast: ") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, out, errOut)
		}
	}
}
