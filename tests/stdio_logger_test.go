package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A container that starts without the logger it was given: containerd 12490.
func TestALoggerThatDiesBeforeItIsReadyFailsCreateByName(t *testing.T) {
	for _, c := range []struct{ scheme, script, want string }{
		{"binary", "exit 3", "/bin/sh ended with status 3 before it was ready"},
		{"binary-v2", "exit 0", "/bin/sh ended with status 0 before it was ready"},
		{"binary-v2", "exec 5>&-; cat <&3", "did not say that it is ready"},
		{"binary", "cat <&3", "not ready after 1s"},
	} {
		t.Run(c.scheme+" "+c.script, func(t *testing.T) {
			d := harness.New(t, harness.Env("HOLDFAST_LOGGER_TIMEOUT=1s"))
			uri := logTo(c.scheme, filepath.Join(d.Dir, "log"), c.script)
			a, err := ask(t, d, request{id: "l", stdout: uri, stderr: uri, args: []string{"true"}})
			if err == nil {
				a.end()
				t.Fatal("the container was created")
			}
			if !strings.Contains(err.Error(), c.want) || client.Code(err) != codes.FailedPrecondition {
				t.Errorf("%v (%v), want %q", err, client.Code(err), c.want)
			}
		})
	}
}

func TestALoggerOfAnExecThatFailsFailsItsStartAlone(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	askExec(t, d, c.Shim, c.ContainerID, "x", logTo("binary", filepath.Join(d.Dir, "log"), "exit 4"), "true")
	p := c.ExecProcess("x", nil)
	_, err := p.Start(d.Ctx())
	if err == nil || !strings.Contains(err.Error(), "/bin/sh ended with status 4") {
		t.Errorf("start: %v", err)
	}
	if _, err := p.Delete(d.Ctx()); err != nil {
		t.Error(err)
	}
	if status, out := c.ExecOutput("y", "echo", "well"); status != 0 || out != "well\n" {
		t.Errorf("the next exec: status %d, %q", status, out)
	}
	c.Finish()
}

func TestLoggersOfExecsEndWithTheirOutput(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	shim := c.HoldShim()
	uri := logTo("binary", filepath.Join(d.Dir, "log"), `exec 5>&-; cat <&3 >> "$0"`)
	one := func() {
		askExec(t, d, c.Shim, c.ContainerID, "x", uri, "echo", "x")
		p := c.ExecProcess("x", nil)
		if _, err := p.Start(d.Ctx()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Wait(d.Ctx()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Delete(d.Ctx()); err != nil {
			t.Fatal(err)
		}
	}
	one()
	idle := openFiles(shim)
	n := times(5, 300)
	for range n {
		one()
	}
	flat(d, shim, idle)
	if got := readFile(t, filepath.Join(d.Dir, "log")); got != strings.Repeat("x\n", n+1) {
		t.Errorf("%d bytes were logged by %d execs", len(got), n+1)
	}
	d.Eventually("the loggers to end", func() error {
		if left := harness.Processes(filepath.Join(d.Dir, "log")); len(left) > 0 {
			return fmt.Errorf("%d live", len(left))
		}
		return nil
	})
	c.Finish()
}

// A container that blocks on a dead logger, or dies of SIGPIPE: containerd 4162.
func TestAContainerOutlivesItsLoggerAndTheLogSaysSo(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t)
			words := newShare(t, d)
			uri := logTo("binary", filepath.Join(d.Dir, "log"), "exec 5>&-; read line <&3; exit 7")
			a := mustAsk(t, d, request{
				id: "l", stdout: uri, stderr: uri, terminal: terminal, edit: words.into,
				args: []string{"sh", "-c", "echo ready; " + until("go") + "seq 1 1000000 && touch /share/wrote; exit 5"},
			})
			a.start()
			if err := d.ShimLog.Wait(d.Ctx(), "/bin/sh ended with status 7 before the output did"); err != nil {
				t.Error(err)
			}
			words.say(t, "go")
			if got := a.wait(); got != 5 {
				t.Errorf("status %d", got)
			}
			if !words.said("wrote") {
				t.Error("a write failed")
			}
			a.end()
		})
	}
}

func TestALoggerHasEveryByteWhenDeleteHasAnswered(t *testing.T) {
	for _, c := range []struct {
		name     string
		terminal bool
		end      string
	}{{"pipe", false, "\n"}, {"terminal", true, "\r\n"}} {
		t.Run(c.name, func(t *testing.T) {
			d := harness.New(t)
			to := filepath.Join(d.Dir, "log")
			uri := logTo("binary-v2", to, `printf x >&5; exec 5>&-; cat <&3 > "$0"`)
			a := mustAsk(t, d, request{id: "l", stdout: uri, stderr: uri, terminal: c.terminal, args: []string{"seq", "1", "500000"}})
			a.start()
			a.wait()
			if _, err := a.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: a.id}); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, "log", got, sequence(500_000, c.end))
			a.leave()
			if strings.Contains(d.ShimLog.String(), "before the output did") {
				t.Error("an end as it should be was reported")
			}
		})
	}
}

// A logger that is behind is waited for, whatever it takes.
func TestDeleteWaitsForALoggerThatIsBehind(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		t.Run(fmt.Sprintf("terminal=%v", terminal), func(t *testing.T) {
			d := harness.New(t, drainForever)
			to, on := filepath.Join(d.Dir, "log"), filepath.Join(d.Dir, "on")
			uri := logTo("binary", to, `exec 5>&-; until [ -e "`+on+`" ]; do sleep 0.01; done; exec cat <&3 > "$0"`)
			const size = 50_000 // less than a pipe holds
			a := mustAsk(t, d, request{
				id: "l", stdout: uri, stderr: uri, terminal: terminal,
				args: []string{"sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size)},
			})
			a.start()
			if got := a.wait(); got != 0 {
				t.Errorf("status %d", got)
			}
			deleted := a.deleteInPassing()
			if err := os.WriteFile(on, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := <-deleted; err != nil {
				t.Error(err)
			}
			a.leave()
			if got := readFile(t, to); got != strings.Repeat("x", size) {
				t.Errorf("%d bytes of %d were logged", len(got), size)
			}
		})
	}
}

// A logger that does not end by itself is asked to, and then made to.
func TestDeleteEndsALoggerThatStays(t *testing.T) {
	for _, c := range []struct{ name, trap string }{
		{"it ends on SIGTERM", `trap 'echo asked > "$0"; exit 0' TERM; `},
		{"it ignores SIGTERM", `trap 'echo asked > "$0"' TERM; `},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := harness.New(t)
			to := filepath.Join(d.Dir, "log")
			uri := logTo("binary", to, c.trap+"exec 5>&-; while :; do sleep 0.05; done")
			a := mustAsk(t, d, request{id: "l", stdout: uri, stderr: uri, args: []string{"true"}})
			a.start()
			a.wait()
			a.end() // what is left of the logger is looked for at the end of the test
			if got := readFile(t, to); got != "asked\n" {
				t.Errorf("SIGTERM: %q", got)
			}
		})
	}
}

// The shim is not in the way of the bytes, so its death is not either.
func TestALoggerGoesOnWhenTheShimDies(t *testing.T) {
	d := harness.New(t)
	words := newShare(t, d)
	to := filepath.Join(d.Dir, "log")
	uri := logTo("binary", to, `exec 5>&-; exec cat <&3 > "$0"`)
	a := mustAsk(t, d, request{
		id: "l", stdout: uri, stderr: uri, edit: words.into,
		args: []string{"sh", "-c", until("go") + "seq 1 100000; touch /share/wrote; sleep 1000"},
	})
	a.start()
	hold, err := a.Hold(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	if err := hold.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := hold.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	words.say(t, "go")
	words.await("wrote")
	a.Close()
	if _, err := d.Launcher.Delete(d.Ctx(), a.Bundle); err != nil {
		t.Fatal(err)
	}
	if err := a.Bundle.Delete(); err != nil {
		t.Fatal(err)
	}
	want := len(sequence(100_000, "\n"))
	d.Eventually("the whole log", func() error {
		b, err := os.ReadFile(to)
		if err == nil && len(b) != want {
			err = fmt.Errorf("%d bytes, want %d", len(b), want)
		}
		return err
	})
}

// A daemon that dies while a logger is waited for leaves neither: containerd
// 6860.
func TestACreateWhoseDaemonIsGoneEndsItsLogger(t *testing.T) {
	d := harness.New(t, harness.Env("HOLDFAST_LOGGER_TIMEOUT=10m"))
	config, err := client.DefaultSpec(d.Namespace, "l", "true").JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle("l", config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Start(d.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(d.Dir, "runs")
	uri := logTo("binary", marker, `echo > "$0"; cat <&3`)
	gone := make(chan error, 1)
	go func() {
		_, err := s.Task.Create(d.Ctx(), &task.CreateTaskRequest{Id: "l", Bundle: b.Path, Stdout: uri, Stderr: uri})
		gone <- err
	}()
	d.Eventually("the logger to run", func() error {
		_, err := os.Stat(marker)
		return err
	})
	s.Close()
	if err := <-gone; err == nil {
		t.Error("the container was created")
	}
	again, err := d.Load(d.Ctx(), b)
	if err != nil {
		t.Fatal(err)
	}
	// It ends when asked to as soon as it has undone the create.
	d.Eventually("the shim to end", func() error {
		if err := again.Shutdown(d.Ctx()); err != nil {
			return err
		}
		select {
		case <-again.Closed():
			return nil
		default:
			return errors.New("it lives")
		}
	})
	if err := b.Delete(); err != nil {
		t.Fatal(err)
	}
}
