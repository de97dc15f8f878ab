package stdio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// started is a program of a test, as the reaper would have started it.
type started struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func startProgram(p *Program) (Child, error) {
	cmd := &exec.Cmd{Path: p.Path, Args: p.Args, Env: p.Env, ExtraFiles: p.Files[3:], SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &started{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *started) Pid() int                   { return c.cmd.Process.Pid }
func (c *started) Signal(s unix.Signal) error { return c.cmd.Process.Signal(s) }
func (c *started) Kill() error                { return unix.Kill(-c.Pid(), unix.SIGKILL) }
func (c *started) Done() <-chan struct{}      { return c.done }

func (c *started) Status() uint32 {
	w := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if w.Signaled() {
		return uint32(128 + w.Signal())
	}
	return uint32(w.ExitStatus())
}

// shell is the URI of a logger that runs script, where $0 and $1 are args.
func shell(scheme, script string, args ...string) string {
	uri := scheme + ":///bin/sh?-c=" + url.QueryEscape(script)
	for i := 0; i+1 < len(args); i += 2 {
		uri += "&" + url.QueryEscape(args[i]) + "=" + url.QueryEscape(args[i+1])
	}
	return uri
}

// logged is a logger's setup whose reports are gathered.
func logged() (Setup, <-chan error) {
	reports := make(chan error, 10)
	return Setup{ID: "c1", Namespace: "ns", Start: startProgram, Report: func(err error) { reports <- err }}, reports
}

func openLogged(t *testing.T, p Paths) (*Streams, <-chan error) {
	t.Helper()
	set, reports := logged()
	s, err := Open(t.Context(), p, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, reports
}

// quick has the loggers of s killed soon.
func quick(s *Streams) {
	for _, l := range s.loggers {
		l.limits = endLimits{byItself: 10 * time.Millisecond, afterTerm: 50 * time.Millisecond}
	}
}

func ended(t *testing.T, s *Streams) Child {
	t.Helper()
	child := s.loggers[0].child
	select {
	case <-child.Done():
	case <-time.After(patience):
		t.Fatal("the logger did not end")
	}
	return child
}

func TestLoggerReadsBothOutputsAndIsToldWhose(t *testing.T) {
	dir := t.TempDir()
	uri := shell("binary", `exec 5>&-
env | grep CONTAINER | sort > $0.env; echo "$@" > $0.args
cat <&4 > $0.err & cat <&3 > $0.out; wait; echo whole > $0.end`, filepath.Join(dir, "log"), "a value")
	s, reports := openLogged(t, Paths{Stdout: uri, Stderr: uri})
	if n := len(s.loggers); n != 1 {
		t.Fatalf("%d loggers for one URI", n)
	}
	for _, o := range s.outputs {
		if o.r != nil {
			t.Error("bytes pass through this process")
		}
	}
	c := child(t, s)
	want := pattern(1 << 20)
	for i, f := range c[1:] {
		if _, err := f.Write(want[i:]); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if !s.Drain(patience) {
		t.Error("not drained")
	}
	s.Wait()
	s.Close()
	if status := ended(t, s).Status(); status != 0 {
		t.Errorf("status %d: it was not left to end by itself", status)
	}
	for name, want := range map[string]string{
		"log.env": "CONTAINER_ID=c1\nCONTAINER_NAMESPACE=ns\n", "log.args": "a value\n", "log.end": "whole\n",
		"log.out": string(want), "log.err": string(want[1:]),
	} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%s holds %d bytes %.40q, %v", name, len(got), got, err)
		}
	}
	select {
	case err := <-reports:
		t.Errorf("an end as it should be was reported: %v", err)
	default:
	}
}

func TestLoggerOfOneOutputSeesTheOtherAtItsEnd(t *testing.T) {
	out := filepath.Join(t.TempDir(), "log")
	fifo := mkfifo(t, "err")
	s, _ := openLogged(t, Paths{Stdout: shell("binary-v2", `printf x >&5; cat <&4 > $0; cat <&3 >> $0`, out, ""), Stderr: fifo})
	r := attach(t, fifo, os.O_RDONLY)
	c := child(t, s)
	fmt.Fprint(c[1], "to the logger")
	fmt.Fprint(c[2], "to the fifo")
	c[1].Close()
	c[2].Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "to the fifo" {
		t.Errorf("fifo: %q, %v", got, err)
	}
	s.Close()
	if got, err := os.ReadFile(out); err != nil || string(got) != "to the logger" {
		t.Errorf("logger: %q, %v", got, err)
	}
}

// A logger that fails is told when it is wanted, not when its log is missed
// (containerd 12490).
func TestLoggerThatDoesNotBecomeReadyIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		uri  string
		want string
	}{
		"dies":                   {shell("binary", "exit 3"), "/bin/sh ended with status 3 before it was ready"},
		"dies, v2":               {shell("binary-v2", "exit 3"), "ended with status 3"},
		"ends well, v2":          {shell("binary-v2", "exit 0"), "ended with status 0"},
		"is killed":              {shell("binary", "kill -9 $$"), "ended with status 137"},
		"leaves a child with it": {shell("binary", "cat <&3 & exit 4"), "ended with status 4"},
		"closes it, v2":          {shell("binary-v2", "exec 5>&-; cat <&3"), "did not say that it is ready"},
		"says nothing":           {shell("binary", "cat <&3"), "not ready after 500ms"},
		"is not there":           {"binary:///no/such/logger", "/no/such/logger: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			set, _ := logged()
			set.Ready = 500 * time.Millisecond
			if strings.Contains(c.want, "ended") {
				set.Ready = patience
			}
			var child Child
			set.Start = func(p *Program) (_ Child, err error) {
				child, err = startProgram(p)
				return child, err
			}
			before := countFds()
			s, err := Open(t.Context(), Paths{Stdout: c.uri}, set)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, ErrLogger) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want ErrLogger with %q", err, c.want)
			}
			if child, ok := child.(*started); ok && child != nil {
				select {
				case <-child.Done():
				case <-time.After(patience):
					t.Error("it goes on running")
				}
			}
			until(t, "all descriptors are closed", func() bool { return countFds() <= before })
		})
	}
}

func TestLoggerIsReadyByByteOrByEnd(t *testing.T) {
	for _, uri := range []string{
		shell("binary", "exec 5>&-; cat <&3"),
		shell("binary", "printf x >&5; cat <&3"),
		shell("binary-v2", "printf x >&5; exec 5>&-; cat <&3"),
	} {
		s, _ := openLogged(t, Paths{Stdout: uri})
		s.Close()
	}
}

func TestWaitForALoggerEndsWithItsRequest(t *testing.T) {
	set, _ := logged()
	ctx, cancel := context.WithCancel(t.Context())
	set.Start = func(p *Program) (Child, error) {
		defer cancel()
		return startProgram(p)
	}
	if _, err := Open(ctx, Paths{Stdout: shell("binary", "cat <&3")}, set); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Containerd 4162: a container must not block on a logger that is gone, nor be
// killed by SIGPIPE.
func TestContainerOutlivesItsLogger(t *testing.T) {
	uri := shell("binary", "exec 5>&-; read line <&3; exit 7")
	s, reports := openLogged(t, Paths{Stdout: uri, Stderr: uri})
	c := child(t, s)
	fmt.Fprintln(c[1], "go")
	if status := ended(t, s).Status(); status != 7 {
		t.Errorf("status %d", status)
	}
	for _, f := range c[1:] {
		if n, err := f.Write(pattern(1 << 20)); err != nil {
			t.Errorf("write after the logger's end: %d bytes, %v", n, err)
		}
	}
	select {
	case err := <-reports:
		if !errors.Is(err, ErrLogger) || !strings.Contains(err.Error(), "/bin/sh ended with status 7") {
			t.Errorf("reported: %v", err)
		}
	case <-time.After(patience):
		t.Error("nothing was reported")
	}
	if !s.Drain(patience) {
		t.Error("Drain waits for a logger that is gone")
	}
	c[1].Close()
	c[2].Close()
	s.Wait()
}

func TestLoggerThatStopsReadingHoldsUpDeleteForALimitedTime(t *testing.T) {
	s, reports := openLogged(t, Paths{Stdout: shell("binary", "trap '' TERM; exec 5>&-; while :; do sleep 1; done")})
	quick(s)
	c := child(t, s)
	fmt.Fprint(c[1], "never read")
	c[1].Close()
	if s.Drain(time.Millisecond) {
		t.Error("Drain says that it was read")
	}
	s.Close()
	if status := ended(t, s).Status(); status != 128+9 {
		t.Errorf("status %d", status)
	}
	if err := <-reports; !strings.Contains(err.Error(), "did not end") {
		t.Errorf("reported: %v", err)
	}
}

func TestLoggerThatWaitsForSIGTERMGetsIt(t *testing.T) {
	s, _ := openLogged(t, Paths{Stdout: shell("binary", "trap 'exit 9' TERM; exec 5>&-; while :; do sleep 0.01; done")})
	s.loggers[0].limits.byItself = 10 * time.Millisecond
	child(t, s)[1].Close()
	s.Close()
	if status := ended(t, s).Status(); status != 9 {
		t.Errorf("status %d", status)
	}
}

// A child that outlives its exec goes on being logged; Wait is for that.
func TestWaitIsForTheLastWriterOfALogger(t *testing.T) {
	out := filepath.Join(t.TempDir(), "log")
	s, _ := openLogged(t, Paths{Stdout: shell("binary", "exec 5>&-; cat <&3 > $0", out, "")})
	c := child(t, s)
	c[2].Close()
	over := make(chan struct{})
	go func() {
		s.Wait()
		s.Close()
		close(over)
	}()
	for i := range 100 {
		fmt.Fprintf(c[1], "%d\n", i)
		if !s.Drain(patience) {
			t.Fatal("not drained")
		}
		select {
		case <-over:
			t.Fatal("Wait returned though there is a writer")
		default:
		}
	}
	c[1].Close()
	select {
	case <-over:
	case <-time.After(patience):
		t.Fatal("Wait did not return after the last writer's end")
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.HasSuffix(got, []byte("\n99\n")) {
		t.Errorf("the log ends %q, %v", got[max(0, len(got)-9):], err)
	}
}

func TestTerminalsOutputGoesToItsLogger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	uri := shell("binary-v2", "printf x >&5; cat <&4 > $0; cat <&3 >> $0", path, "")
	s, reports := openLogged(t, Paths{Stdout: uri, Stderr: uri, Terminal: true})
	slave := startOnTerminal(t, s)
	want := bytes.Repeat([]byte("0123456789abcde\n"), 1<<15)
	if _, err := slave.Write(want); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	s.Ended()
	if !s.Drain(patience) {
		t.Error("not drained")
	}
	s.Close()
	got, err := os.ReadFile(path)
	if got = bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d were logged, %v", len(got), len(want), err)
	}
	select {
	case err := <-reports:
		t.Errorf("reported: %v", err)
	default:
	}
}

func TestTerminalOutlivesItsLogger(t *testing.T) {
	s, reports := openLogged(t, Paths{Stdout: shell("binary", "exec 5>&-; read line <&3"), Terminal: true})
	slave := startOnTerminal(t, s)
	fmt.Fprintln(slave, "go")
	<-reports
	printsFreely(t, slave, "a logger that is gone")
}

func TestLoggersPipesBelongToTheOwner(t *testing.T) {
	set, _ := logged()
	set.Owner = Owner{UID: 1234, GID: 4321}
	s, err := Open(t.Context(), Paths{Stdout: shell("binary", "exec 5>&-; cat <&3")}, set)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, out, _ := s.Child()
	var st unix.Stat_t
	if err := unix.Fstat(int(out.Fd()), &st); err != nil || st.Uid != 1234 || st.Gid != 4321 {
		t.Errorf("owner %d:%d, %v", st.Uid, st.Gid, err)
	}
}
