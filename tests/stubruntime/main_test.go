package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long an event may take that is sure to come.
const patience = 30 * time.Second

// bundle is a directory with a configuration, and a stub to run in it.
type bundle struct {
	t         *testing.T
	stub, dir string
}

// binary is the stub, built for this run.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-stubruntime-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "stubruntime")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// newBundle makes a stub whose real runtime prints its arguments, says "real"
// on stderr and exits with 4.
func newBundle(t *testing.T, verbs string) *bundle {
	t.Helper()
	b := &bundle{t: t, stub: binary, dir: t.TempDir()}
	b.write("real", "#!/bin/sh\necho \"$@\"; echo real >&2; exit 4\n")
	b.write(configName, fmt.Sprintf(`{"runtime":%q,"calls":"calls","verbs":{%s}}`, b.file("real"), verbs))
	return b
}

func (b *bundle) file(name string) string { return filepath.Join(b.dir, name) }

func (b *bundle) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.file(name), []byte(text), 0o700); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(b.file(name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func (b *bundle) appears(name string) {
	b.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(b.file(name)); err == nil {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("waited %s for %s", patience, name)
		}
	}
}

func (b *bundle) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.stub, args...)
	cmd.Dir = b.dir
	return cmd
}

// run checks how a call ends and what it prints.
func (b *bundle) run(code int, stdout, stderr string, args ...string) {
	b.t.Helper()
	var out, complaints strings.Builder
	cmd := b.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		b.t.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() != code || out.String() != stdout || complaints.String() != stderr {
		b.t.Errorf("%v: exit code %d, %q, %q; want %d, %q, %q", args,
			cmd.ProcessState.ExitCode(), out.String(), complaints.String(), code, stdout, stderr)
	}
}

func TestWithoutAFaultTheStubIsTheRealRuntime(t *testing.T) {
	b := newBundle(t, `"kill":{"exit":0}`)
	b.run(4, "--root /r --log l --log-format=json --systemd-cgroup start c1\n", "real\n",
		"--root", "/r", "--log", "l", "--log-format=json", "--systemd-cgroup", "start", "c1")
	b.run(0, "", "", "kill", "c1", "9")
	var last record
	lines := strings.Split(strings.TrimSpace(b.read("calls")), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Verb != "kill" || strings.Join(last.Args, " ") != b.stub+" kill c1 9" || last.Dir != b.dir || len(lines) != 2 {
		t.Errorf("recorded %+v of %d calls", last, len(lines))
	}
}

func TestArgumentsThatAreDroppedAreRecordedAllTheSame(t *testing.T) {
	b := newBundle(t, `"kill":{"exit":0}},"drop":["--systemd-cgroup"],"none":{`)
	b.run(4, "--root /r start c1\n", "real\n", "--root", "/r", "--systemd-cgroup", "start", "c1")
	if calls := b.read("calls"); !strings.Contains(calls, "--systemd-cgroup") {
		t.Errorf("recorded %s", calls)
	}
}

func TestAFaultForOtherVerbs(t *testing.T) {
	b := newBundle(t, `"*":{"exit":3},"kill":{"exit":0}`)
	b.run(3, "", "", "start", "c1")
	b.run(0, "", "", "kill", "c1")
}

func TestAFaultForTheFirstCallsOnly(t *testing.T) {
	b := newBundle(t, `"start":{"times":2,"exit":3}`)
	b.run(3, "", "", "start", "c1")
	b.run(3, "", "", "start", "c1")
	b.run(4, "start c1\n", "real\n", "start", "c1")
}

func TestAFaultAfterTheRealWork(t *testing.T) {
	b := newBundle(t, `"start":{"after":true,"stderr":"then {last}"},"kill":{"after":true,"exit":0}`)
	b.run(4, "start c1\n", "real\nthen c1", "start", "c1")
	b.run(0, "kill c1\n", "real\n", "kill", "c1")
}

func TestAnErrorInTheLog(t *testing.T) {
	b := newBundle(t, `"start":{"log":"garbage\n","error":"no {last}","exit":1}`)
	b.run(1, "", "no c1\n", "--log", "the.log", "start", "c1")
	garbage, line, _ := strings.Cut(b.read("the.log"), "\n")
	var e struct{ Level, Msg string }
	if err := json.Unmarshal([]byte(line), &e); err != nil || garbage != "garbage" || e.Level != "error" || e.Msg != "no c1" {
		t.Errorf("log: %q, %q, %v", garbage, line, err)
	}
}

func TestACallThatWaitsToBeLetGo(t *testing.T) {
	b := newBundle(t, `"start":{"mark":"here","until":"go","delay":"1ms","exit":0}`)
	cmd := b.command("start", "c1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.appears("here")
	b.write("go", "")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestACallThatHangsWithAnOrphan(t *testing.T) {
	b := newBundle(t, `"start":{"spew":200,"orphan":"orphan","hang":true}`)
	cmd := b.command("start", "c1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.appears("orphan")
	orphan := 0
	if _, err := fmt.Sscan(b.read("orphan"), &orphan); err != nil {
		t.Fatal(err)
	}
	if group, err := syscall.Getpgid(orphan); err != nil || group != cmd.Process.Pid {
		t.Errorf("the orphan is in group %d (%v), want %d", group, err, cmd.Process.Pid)
	}
	if err := syscall.Kill(cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %s, want SIGKILL alone", status.Signal())
	}
}

func TestADeathByAnySignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGTERM} {
		b := newBundle(t, fmt.Sprintf(`"start":{"signal":%d}`, sig))
		err := b.command("start", "c1").Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != sig {
			t.Errorf("%v, want %s", err, sig)
		}
	}
}

func TestABadConfigurationIsAnError(t *testing.T) {
	b := newBundle(t, ``)
	b.write(configName, "garbage")
	if err := b.command("start", "c1").Run(); err == nil {
		t.Error("no error")
	}
}
