package tests

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestAnExecRunsBesideInitAndHasAStoryOfItsOwn(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	e := c.Exec("x", "sh", "-c", "echo out; echo err >&2; exit 4")
	s, err := e.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_CREATED || s.Pid != 0 {
		t.Errorf("exec before its start: %+v", s)
	}
	pid := e.Start()
	if got := e.Wait(); got != 4 {
		t.Errorf("status %d", got)
	}
	if s, err = e.State(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if s.Status != types.Status_STOPPED || s.ExitStatus != 4 || s.Pid != uint32(pid) {
		t.Errorf("exec after its end: %+v", s)
	}
	if got := e.Delete(); got != 4 {
		t.Errorf("delete told status %d", got)
	}
	if out, err := e.Out.String(), e.Err.String(); out != "out\n" || err != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	_, err = e.State(d.Ctx())
	d.WantCode("state of a deleted exec", err, codes.NotFound)
	c.Finish()
	d.WantStory(c, "create", "start", "exec-added x", "exec-started x", "exit x 4", "exit 137", "delete 137")
}

func TestAnExecsIdIsFreeAgainAfterItsDelete(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	for want := range uint32(3) {
		status, _ := c.ExecOutput("x", "sh", "-c", fmt.Sprintf("exit %d", want))
		if status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
	c.Finish()
}

func TestAnExecThatWasNeverStartedCanBeDeleted(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	c.Exec("x", "true").Delete()
	c.Finish()
	d.WantStory(c, "create", "start", "exec-added x", "exit 137", "delete 137")
}

func TestAnExecOfAMissingProgramFailsAndLeavesNothing(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	e := c.Exec("x", "/no/such/program")
	_, err := e.Process.Start(d.Ctx())
	if err == nil {
		t.Fatal("a program that is not there was started")
	}
	// What the runtime said is what a user reads; crun says it in capitals.
	if !strings.Contains(strings.ToLower(err.Error()), "no such file or directory") {
		t.Errorf("the error does not tell why: %v", err)
	}
	e.Delete()
	if status, out := c.ExecOutput("x", "echo", "well"); status != 0 || out != "well\n" {
		t.Errorf("the next exec: status %d, %q", status, out)
	}
	c.Finish()
}

func TestAnExecIsKilledAlone(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	e := c.Exec("x", "sleep", "1000")
	e.Start()
	if err := e.Kill(d.Ctx(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := e.Wait(); got != 128+15 {
		t.Errorf("status %d", got)
	}
	err := e.Kill(d.Ctx(), syscall.SIGTERM)
	d.WantCode("kill of an exec that has ended", err, codes.NotFound)
	e.Delete()
	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
		t.Errorf("init: %v, %v", s, err)
	}
	c.Finish()
}

func TestManyExecsAtOnceAllTellTheirOwnStatus(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	const execs = 30
	var wg sync.WaitGroup
	for i := range uint32(execs) {
		wg.Go(func() {
			id := fmt.Sprintf("x%d", i)
			e, err := c.TryExec(id, client.Streams{}, "sh", "-c", fmt.Sprintf("echo %s; exit %d", id, i))
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := e.Process.Start(d.Ctx()); err != nil {
				t.Error(err)
				return
			}
			status, _, err := e.Process.Wait(d.Ctx())
			if err != nil || status != i {
				t.Errorf("%s: status %d, %v", id, status, err)
			}
			if _, err := e.Process.Delete(d.Ctx()); err != nil {
				t.Error(err)
			}
			if got := e.Out.String(); got != id+"\n" {
				t.Errorf("%s printed %q", id, got)
			}
		})
	}
	wg.Wait()
	c.Finish()
	d.WaitEvent(c, "delete 137")
	if n := len(d.Story(c.ContainerID)); n != 2+3*execs+2 {
		t.Errorf("%d events", n)
	}
}

// Kubernetes' users see this as a probe that hangs (containerd 10094, moby 33039).
func TestAnExecsEndIsToldThoughItsChildHoldsTheOutput(t *testing.T) {
	d := harness.New(t, drainForever)
	c := d.Run("sleep", "1000")
	e := c.Exec("x", "sh", "-c", "sleep 1000 & echo gone; exit 6")
	e.Start()
	if got := e.Wait(); got != 6 {
		t.Errorf("status %d", got)
	}
	d.WaitEvent(c, "exit x 6")
	// The end of the output is not waited for: it comes with the child's.
	r, err := c.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: c.ContainerID, ExecId: "x"})
	if err != nil || r.ExitStatus != 6 {
		t.Errorf("delete told %v, %v", r, err)
	}
	if err := e.Out.Wait(d.Ctx(), "gone\n"); err != nil {
		t.Error(err)
	}
	c.Finish()
	if err := e.IO.Wait(d.Ctx()); err != nil {
		t.Errorf("the output after the container's end: %v", err)
	}
	e.IO.Close()
}

func TestExecsEndBeforeInitDoesWhenInitDies(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	var execs []*harness.Exec
	for i := range 5 {
		e := c.Exec(fmt.Sprintf("x%d", i), "sleep", "1000")
		e.Start()
		execs = append(execs, e)
	}
	c.Kill(syscall.SIGKILL)
	c.Wait()
	for _, e := range execs {
		if got := e.Wait(); got != 137 {
			t.Errorf("%s: status %d", e.ExecID, got)
		}
		e.Delete()
	}
	c.Delete()
	d.WaitEvent(c, "delete 137")
	story := d.Story(c.ContainerID)
	init := slices.Index(story, "exit 137")
	for _, e := range execs {
		if at := slices.Index(story, "exit "+e.ExecID+" 137"); at < 0 || at > init {
			t.Errorf("%s's exit is event %d, init's is %d: %q", e.ExecID, at, init, story)
		}
	}
}

func TestAnExecRunsWhereAndAsWhomItIsTold(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	spec := client.DefaultProcess("sh", "-c", "pwd; id -u; id -g; echo $GREETING")
	spec.Cwd = "/tmp"
	spec.User = client.SpecUser{UID: 65534, GID: 65534}
	spec.Env = append(spec.Env, "GREETING=hello")
	var out harness.Output
	p, err := c.Container.Exec(d.Ctx(), "x", spec, client.Streams{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Start(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Delete(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "/tmp\n65534\n65534\nhello\n" {
		t.Errorf("output %q", got)
	}
	c.Finish()
}

func TestPidsNamesEveryProcessAndTheExecsAmongThem(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sh", "-c", "sleep 1000 & echo ready; wait")
	init := uint32(c.Start())
	if err := c.Out.Wait(d.Ctx(), "ready"); err != nil {
		t.Fatal(err)
	}
	e := c.Exec("probe", "sleep", "1000")
	exec := uint32(e.Start())
	r, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID})
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[uint32]string)
	for _, p := range r.Processes {
		named[p.Pid] = ""
		if p.Info == nil {
			continue
		}
		var details runcopts.ProcessDetails
		if err := proto.Unpack(p.Info, &details); err != nil {
			// containerd's own shim is older than the plain name of the type.
			t.Fatalf("pid %d: %v", p.Pid, err)
		}
		named[p.Pid] = details.ExecId
	}
	if len(named) != 3 {
		t.Errorf("pids: %v, want init, its child and the exec", named)
	}
	if name, ok := named[init]; !ok || name != "" {
		t.Errorf("init %d is named %q, listed %v: %v", init, name, ok, named)
	}
	if named[exec] != "probe" {
		t.Errorf("exec %d is named %q: %v", exec, named[exec], named)
	}
	if err := e.Kill(d.Ctx(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	e.Wait()
	e.Delete()
	c.Finish()
}

// A daemon that is started again deletes a shim whose container has no pids, and
// with it the exit that nobody knows of yet: so even the dead one has one.
func TestPidsNamesTheInitOfAContainerThatHasEnded(t *testing.T) {
	d := harness.New(t)
	c := d.Create("true")
	init := uint32(c.Start())
	c.Wait()
	r, err := c.Shim.Task.Pids(d.Ctx(), &task.PidsRequest{Id: c.ContainerID})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Processes) != 1 || r.Processes[0].Pid != init {
		t.Errorf("pids: %v, want that of init, %d", r.Processes, init)
	}
	c.Delete()
}

// How old users of the Task API ask: the exec's spec as it is, terminal or not.
func TestTheSpecOfAnExecIsCarriedAsJSON(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	spec, err := json.Marshal(client.DefaultProcess("true"))
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"types.containerd.io/opencontainers/runtime-spec/1/Process",
		"types.containerd.io/opencontainers/runtime-spec/1/Spec/Process",
	} {
		if err := execRaw(d, c, "x", url, spec); err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		p := task.DeleteRequest{Id: c.ContainerID, ExecId: "x"}
		if _, err := c.Shim.Task.Start(d.Ctx(), &task.StartRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Shim.Task.Wait(d.Ctx(), &task.WaitRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Shim.Task.Delete(d.Ctx(), &p); err != nil {
			t.Error(err)
		}
	}
	c.Finish()
}
