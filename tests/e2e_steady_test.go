package tests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// Leaked ends of terminals: containerd 11160, 11205.
func TestExecsLeaveTheShimsFilesAndThreadsAsTheyWere(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t)
			c := d.Run("sleep", "1000")
			shim := c.HoldShim()
			one := func() {
				e := c.ExecStreams("x", client.Streams{Stdin: strings.NewReader(""), Terminal: terminal}, "true")
				e.Start()
				e.Wait()
				e.Delete()
			}
			files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
			threads := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/task", shim.Pid()))) }
			// What is made once and kept is not a leak.
			for range 5 {
				one()
			}
			filesBefore, threadsBefore := files(), threads()
			for range 40 {
				one()
			}
			d.Eventually("the shim's files", func() error {
				if n := files(); n > filesBefore {
					return fmt.Errorf("%d files, before %d", n, filesBefore)
				}
				return nil
			})
			// A thread more or less is the Go runtime's choice of the moment.
			if n := threads(); n > threadsBefore+4 {
				t.Errorf("%d threads, before %d", n, threadsBefore)
			}
			c.Finish()
		})
	}
}

// containerd 10603, 10589: init's exit must not wait behind execs that start.
func TestInitsExitComesThroughAStormOfExecs(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	stop := make(chan struct{})
	var storm sync.WaitGroup
	for i := range 8 {
		storm.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				e, err := c.TryExec(fmt.Sprintf("x%d-%d", i, n), client.Streams{}, "true")
				if err != nil {
					continue // the container has stopped
				}
				if _, err := e.Process.Start(d.Ctx()); err == nil {
					// containerd 9719: it has an exit, however close init's was.
					if _, _, err := e.Process.Wait(d.Ctx()); err != nil {
						t.Errorf("wait for an exec that started: %v", err)
					}
				}
				e.Process.Delete(d.Ctx())
				e.IO.Close()
			}
		})
	}
	d.WaitEvent(c, "exit x0-2 0")
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	d.WaitEvent(c, "exit 137")
	close(stop)
	storm.Wait()
	c.Delete()
	d.WaitEvent(c, "delete 137")
	// Every exec that was told to have started was told to have ended.
	story := d.Story(c.ContainerID)
	for _, line := range story {
		if id, ok := strings.CutPrefix(line, "exec-started "); ok && !slices.ContainsFunc(story, func(l string) bool {
			return strings.HasPrefix(l, "exit "+id+" ")
		}) {
			t.Errorf("%s started and never ended", id)
		}
	}
}

// containerd 7111: an exit before its start.
func TestTheShortestLivesAreToldInOrder(t *testing.T) {
	d := harness.New(t)
	for range 25 {
		c := d.Run("true")
		c.Wait()
		c.Delete()
		d.WantStory(c, "create", "start", "exit 0", "delete 0")
	}
}

// containerd 4509: the log's reader stands still, the shim must not.
func TestAShimWhoseLogIsNotReadGoesOn(t *testing.T) {
	stuck := &stuckWriter{free: make(chan struct{})}
	d := harness.New(t, harness.Env("HOLDFAST_LOG_LEVEL=-8"), func(d *harness.Daemon) { d.Log = stuck })
	c := d.Run("sleep", "1000")
	for range 30 {
		// Each is worth a line or more of a verbose log.
		c.ExecOutput("x", "true")
		if _, err := c.Shim.Task.State(d.Ctx(), &task.StateRequest{Id: "nobody"}); err == nil {
			t.Error("there is a nobody")
		}
	}
	c.Kill(syscall.SIGKILL)
	if got := c.Wait(); got != 137 {
		t.Errorf("status %d", got)
	}
	close(stuck.free)
	c.Delete()
}

type stuckWriter struct{ free chan struct{} }

func (s *stuckWriter) Write(p []byte) (int, error) {
	<-s.free
	return len(p), nil
}

func TestAGroupThatIsStartedTwiceAtOnceHasOneShim(t *testing.T) {
	for _, dialect := range client.Dialects() {
		t.Run(dialect.String(), func(t *testing.T) {
			d := harness.New(t, harness.Dialect(dialect))
			const members = 4
			made := make(chan *harness.Container, members)
			var wg sync.WaitGroup
			for i := range members {
				wg.Go(func() {
					c, err := d.TryCreate(harness.Want{
						ID: fmt.Sprintf("m%d", i), Args: []string{"true"},
						Edit: func(s *client.Spec) { s.Annotate(client.GroupAnnotation, "g") },
					})
					if err != nil {
						t.Error(err)
						return
					}
					made <- c
				})
			}
			wg.Wait()
			close(made)
			pids := make(map[int]bool)
			var all []*harness.Container
			for c := range made {
				pid, err := c.Shim.Pid(d.Ctx())
				if err != nil {
					t.Error(err)
				}
				pids[pid] = true
				all = append(all, c)
			}
			if len(pids) != 1 {
				t.Errorf("shims %v", pids)
			}
			for _, c := range all {
				c.Delete()
			}
		})
	}
}

func TestSIGUSR1PutsTheStacksIntoTheLogAndNothingElseHappens(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	if err := c.HoldShim().Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if err := d.ShimLog.Wait(d.Ctx(), "goroutine "); err != nil {
		t.Error(err)
	}
	answersEverything(t, d, c)
	c.Finish()
}

func TestSIGPIPEIsNothingToAShim(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	if err := c.HoldShim().Signal(syscall.SIGPIPE); err != nil {
		t.Fatal(err)
	}
	answersEverything(t, d, c)
	c.Finish()
}

// A shim that ended while its container runs would leave one that nobody reaps.
func TestSIGTERMEndsAShimWhenNoContainerRuns(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	h := c.HoldShim()
	if err := h.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := d.ShimLog.Wait(d.Ctx(), "asked to end"); err != nil {
		t.Fatal(err)
	}
	answersEverything(t, d, c)
	// The shim ends with the container: its answer comes right before the connection's
	// end, which a ttrpc client may see first.
	if err := c.Container.Kill(d.Ctx(), syscall.SIGKILL); err != nil && !errors.Is(err, ttrpc.ErrClosed) {
		t.Fatal(err)
	}
	if err := h.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	d.WaitEvent(c, "exit 137")
	if r := c.Cleanup(); r.ExitStatus != 137 {
		t.Errorf("delete told %+v", r)
	}
}

// The environment variable by which this test's binary is a stranger.
const strangerEnv = "HOLDFAST_TEST_STRANGER_DIALS"

func TestOnlyTheShimsOwnUserMayTalkToIt(t *testing.T) {
	if socket := os.Getenv(strangerEnv); socket != "" {
		dialAsStranger(t, socket)
		return
	}
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	socket := strings.TrimPrefix(c.Shim.Endpoint.Address, "unix://")
	// The directory's and the socket's modes are opened on purpose: the shim looks
	// at who it is that calls.
	for path, mode := range map[string]os.FileMode{d.Dir: 0o755, filepath.Dir(socket): 0o755, socket: 0o666} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	self := filepath.Join(d.Dir, "stranger")
	if err := copyProgram(self); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(d.Ctx(), self, "-test.run=^TestOnlyTheShimsOwnUserMayTalkToIt$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), strangerEnv+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "refused as it should be") {
		t.Errorf("a stranger: %v\n%s", err, out)
	}
	answersEverything(t, d, c)
	c.Finish()
}

func dialAsStranger(t *testing.T, socket string) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatalf("not even dialled: %v", err)
	}
	c := ttrpc.NewClient(conn)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	r, err := task.NewClient(c, 3).Connect(ctx, &task.ConnectRequest{})
	if err == nil || ctx.Err() != nil {
		t.Fatalf("answered %+v, %v", r, err)
	}
	t.Logf("refused as it should be: %v", err)
}

func copyProgram(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

func TestTheCreateEventTellsWhatWasAskedFor(t *testing.T) {
	d := harness.New(t)
	c := d.Create("true")
	pid := c.Start()
	e := d.WaitEvent(c, "create")
	m, ok := e.Message.(*events.TaskCreate)
	if !ok {
		t.Fatalf("message %T", e.Message)
	}
	if m.Bundle != c.Bundle.Path || m.Pid != uint32(pid) || m.Io == nil || m.Io.Stdout != c.IO.Stdout ||
		m.Io.Stderr != c.IO.Stderr || m.Io.Terminal || len(m.Rootfs) != 1 || m.Rootfs[0].Type != "overlay" {
		t.Errorf("create: %+v, io %+v, rootfs %+v", m, m.Io, m.Rootfs)
	}
	if e.Namespace != d.Namespace || time.Since(e.Time) > harness.Patience || time.Until(e.Time) > time.Second {
		t.Errorf("envelope: %+v", e)
	}
	c.Wait()
	c.Delete()
}
