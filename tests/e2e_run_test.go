package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// tool is the operator's tool with a state root of the test's own.
type tool struct {
	t    *testing.T
	path string
	root string
}

// newTool fails the test at its end if the tool left anything.
func newTool(t *testing.T) *tool {
	t.Helper()
	path := harness.Tool(t)
	dir, err := os.MkdirTemp("", "hft")
	if err != nil {
		t.Fatal(err)
	}
	u := &tool{t: t, path: path, root: filepath.Join(dir, "r")}
	t.Cleanup(func() {
		u.checkLeft()
		deadline := time.Now().Add(harness.Patience)
		for err := u.sweep(dir); err != nil; err = u.sweep(dir) {
			if time.Now().After(deadline) {
				t.Errorf("sweep: %v", err)
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	return u
}

// sweep removes what is left, so that one failure does not become many.
func (u *tool) sweep(dir string) error {
	if err := harness.Sweep(u.root+"/", u.cgroups()); err != nil {
		return err
	}
	if err := client.UnmountAll(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (u *tool) cgroups() []string {
	var all []string
	for _, pattern := range []string{"/sys/fs/cgroup/holdfast-", "/sys/fs/cgroup/*/holdfast-"} {
		groups, _ := filepath.Glob(pattern + u.id() + "*")
		all = append(all, groups...)
	}
	return all
}

// checkLeft looks for processes, mounts, cgroups and files of this tool's.
func (u *tool) checkLeft() {
	u.t.Helper()
	if _, err := os.Lstat(u.root); !errors.Is(err, os.ErrNotExist) {
		u.t.Errorf("left behind: %s with %q", u.root, harness.Names(u.root))
	}
	if mounts, err := client.MountsUnder(u.root); err != nil || len(mounts) > 0 {
		u.t.Errorf("left behind: mounts %q, %v", mounts, err)
	}
	for _, pid := range harness.Processes(u.root + "/") {
		u.t.Errorf("left behind: process %d", pid)
	}
	if left := u.cgroups(); len(left) > 0 {
		u.t.Errorf("left behind: %q", left)
	}
}

// id is the beginning of the ids of this tool's containers.
func (u *tool) id() string { return filepath.Base(filepath.Dir(u.root)) }

// command is `holdfast run` with these arguments.
func (u *tool) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	u.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, u.path, "run", "--root", u.root, "--id", u.id())
	if name := os.Getenv("HOLDFAST_RUNTIME"); name != "" {
		cmd.Args = append(cmd.Args, "--runtime", name)
	}
	cmd.Args = append(cmd.Args, args...)
	// Orderly at first, so that a test that hangs leaves less.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs it to its end.
func (u *tool) run(stdin io.Reader, args ...string) (code int, stdout, stderr string) {
	u.t.Helper()
	cmd := u.command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errOut.String()
}

func TestRunPassesTheContainersOutputAndExitCodeOn(t *testing.T) {
	u := newTool(t)
	code, out, errOut := u.run(nil, "--", "sh", "-c", "echo out; echo err >&2; exit 7")
	if code != 7 || out != "out\n" || errOut != "err\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
}

func TestRunPassesStdinOnOnlyWhenAsked(t *testing.T) {
	u := newTool(t)
	if code, out, _ := u.run(strings.NewReader("in\n"), "-i", "--", "cat"); code != 0 || out != "in\n" {
		t.Errorf("with -i: code %d, %q", code, out)
	}
	if code, out, _ := u.run(strings.NewReader("in\n"), "--", "cat"); code != 0 || out != "" {
		t.Errorf("without -i: code %d, %q", code, out)
	}
}

func TestRunTellsCommandTroubleByItsExitCode(t *testing.T) {
	u := newTool(t)
	for _, tt := range []struct {
		command string
		code    int
		text    string
	}{
		{"no-such-command", 127, "not found"},
		{"/no/such/command", 127, "no such file"},
		{"/etc/passwd", 126, "permission denied"},
	} {
		code, out, errOut := u.run(nil, "--", tt.command)
		if code != tt.code || out != "" || !strings.Contains(errOut, tt.text) || strings.Count(errOut, "\n") != 1 {
			t.Errorf("%s: code %d, stdout %q, stderr %q", tt.command, code, out, errOut)
		}
	}
}

func TestRunRefusesBadInputInOneLine(t *testing.T) {
	u := newTool(t)
	empty := t.TempDir()
	for _, args := range [][]string{
		{},
		{"--no-such-flag", "--", "true"},
		{"--memory", "much", "--", "true"},
		{"--memory", "9999999999g", "--", "true"},
		{"--cpus", "0", "--", "true"},
		{"--cpus", "NaN", "--", "true"},
		{"--pids", "-1", "--", "true"},
		{"--id", "../escape", "--", "true"},
		{"--id", "", "--id", "a..b", "--", "true"},
		{"--cwd", "relative", "--", "true"},
		{"--user", "nobody-here", "--", "true"},
		{"--user", "root:no-such-group", "--", "true"},
		{"--env", "=x", "--", "true"},
		{"--rootfs", "/no/such/dir", "--", "true"},
		{"--rootfs", "/bin/busybox", "--", "true"},
		{"--bundle", empty},
		{"--shim", "/no/such/shim", "--", "true"},
		{"--shim", "/bin/false", "--", "true"},
		{"--runtime", "no-such-runtime", "--", "true"},
		{"--dialect", "4", "--", "true"},
		{"--root", "/" + strings.Repeat("x", 200), "--", "true"},
		{"-t", "-i", "--", "true"}, // not a terminal
	} {
		code, out, errOut := u.run(strings.NewReader(""), args...)
		if code != 125 || out != "" || strings.Count(errOut, "\n") != 1 || !strings.HasPrefix(errOut, "holdfast: ") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, out, errOut)
		}
	}
	os.Remove("/" + strings.Repeat("x", 200))
}

func TestRunSetsWhatTheFlagsSay(t *testing.T) {
	u := newTool(t)
	code, out, errOut := u.run(nil,
		"--env", "A=1", "--env", "A=2", "--cwd", "/tmp", "--user", "nobody", "--read-only",
		"--memory", "64m", "--cpus", "0.5", "--pids", "50",
		"--", "sh", "-c", "echo $A; pwd; id -u; touch /tmp/x; cat /proc/self/cgroup")
	lines := strings.Split(out, "\n")
	if code != 0 || len(lines) < 4 || strings.Join(lines[:3], " ") != "2 /tmp 65534" {
		t.Fatalf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	if !strings.Contains(errOut, "Read-only file system") {
		t.Errorf("stderr %q", errOut)
	}
	if !strings.Contains(out, "/holdfast-"+u.id()) {
		t.Errorf("cgroups: %q", out)
	}
}

func TestRunHoldsTheContainerToItsLimitOfProcesses(t *testing.T) {
	u := newTool(t)
	code, out, errOut := u.run(nil, "--pids", "5", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all")
	if code == 0 || out != "" || !strings.Contains(errOut, "fork") {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
}

func TestRunOnARootfsLeavesItAsItIs(t *testing.T) {
	u := newTool(t)
	rootfs := filepath.Join(t.TempDir(), "rootfs")
	if err := client.MakeRootfs(rootfs); err != nil {
		t.Fatal(err)
	}
	before := listTree(t, rootfs)
	if code, out, errOut := u.run(nil, "--rootfs", rootfs, "--", "ls", "/proc/1/exe"); code != 0 {
		t.Fatalf("code %d, %q %q", code, out, errOut)
	}
	if after := listTree(t, rootfs); after != before {
		t.Errorf("the rootfs was\n%s\nand is\n%s", before, after)
	}
	if code, _, errOut := u.run(nil, "--rootfs", rootfs, "--", "touch", "/by-the-container"); code != 0 {
		t.Fatalf("code %d, %q", code, errOut)
	}
	if _, err := os.Stat(filepath.Join(rootfs, "by-the-container")); err != nil {
		t.Errorf("what the container wrote: %v", err)
	}
}

// listTree is every file's name and mode.
func listTree(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("find", dir, "-printf", "%P %m %s\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestRunTakesABundleAndLeavesItAsItIs(t *testing.T) {
	u := newTool(t)
	bundle := t.TempDir()
	if err := client.MakeRootfs(filepath.Join(bundle, "tree")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "data"), []byte("beside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := client.DefaultSpec("any", "thing", "sh", "-c", "cat /tmp/data; echo $WHO; exit 6")
	spec.Root.Path = "tree"
	spec.Linux.CgroupsPath = ""
	spec.Mounts = append(spec.Mounts, client.SpecMount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"},
		client.SpecMount{Destination: "/tmp/data", Type: "bind", Source: "data", Options: []string{"bind", "ro"}})
	text, err := spec.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	before := listTree(t, bundle)
	if code, out, errOut := u.run(nil, "--bundle", bundle, "--env", "WHO=me"); code != 6 || out != "beside\nme\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	if code, out, errOut := u.run(nil, "--bundle", bundle, "--", "echo", "instead"); code != 0 || out != "instead\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
	if after := listTree(t, bundle); after != before {
		t.Errorf("the bundle was\n%s\nand is\n%s", before, after)
	}
}

func TestRunPrintsEventsAsTheyCome(t *testing.T) {
	u := newTool(t)
	code, _, errOut := u.run(nil, "--events", "--", "sh", "-c", "exit 4")
	lines := strings.Split(strings.TrimSpace(errOut), "\n")
	if code != 4 || len(lines) != 4 {
		t.Fatalf("code %d, stderr %q", code, errOut)
	}
	for i, want := range []string{"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"} {
		fields := strings.Fields(lines[i])
		if len(fields) < 4 || fields[1] != want || fields[2] != "id="+u.id() || !strings.HasPrefix(fields[3], "pid=") {
			t.Errorf("line %d: %q, want %s", i, lines[i], want)
		}
	}
	if !strings.HasSuffix(lines[2], " status=4") {
		t.Errorf("exit: %q", lines[2])
	}
}

func TestRunWithAllDialects(t *testing.T) {
	u := newTool(t)
	for _, d := range []string{"1", "2", "3"} {
		if code, out, errOut := u.run(nil, "--dialect", d, "--", "echo", d); code != 0 || out != d+"\n" {
			t.Errorf("dialect %s: code %d, stdout %q, stderr %q", d, code, out, errOut)
		}
	}
}

func TestRunEndsWhenNobodyReadsTheOutput(t *testing.T) {
	u := newTool(t)
	cmd := u.command("--", "yes")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	out.Close()
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); got != 128+int(syscall.SIGPIPE) {
		t.Errorf("code %d", got)
	}
}

// started is a run that goes on, with its outputs.
type started struct {
	*exec.Cmd
	out, err *harness.Output
	t        *testing.T
}

// start runs a command that prints "ready", and returns when it has.
func (u *tool) start(args ...string) *started {
	u.t.Helper()
	s := &started{Cmd: u.command(args...), out: &harness.Output{}, err: &harness.Output{}, t: u.t}
	s.Stdout, s.Stderr = s.out, s.err
	if err := s.Start(); err != nil {
		u.t.Fatal(err)
	}
	s.waitFor("ready")
	return s
}

func (s *started) waitFor(text string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	if err := s.out.Wait(ctx, text); err != nil {
		s.t.Fatalf("%v; stderr %q", err, s.err)
	}
}

func (s *started) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the run's end and returns its exit code.
func (s *started) end() int {
	s.Wait()
	return s.ProcessState.ExitCode()
}

func TestRunPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newTool(t).start("--", "sh", "-c", fmt.Sprintf("trap 'exit 33' %d; echo ready; while :; do sleep 0.02; done", sig))
			s.signal(sig)
			if code := s.end(); code != 33 {
				t.Errorf("code %d, stderr %q", code, s.err)
			}
		})
	}
}

func TestASecondInterruptKills(t *testing.T) {
	s := newTool(t).start("--", "sh", "-c", "trap 'echo no' INT; echo ready; while :; do sleep 0.02; done")
	s.signal(syscall.SIGINT)
	s.waitFor("no")
	s.signal(syscall.SIGINT)
	if code := s.end(); code != 137 {
		t.Errorf("code %d, stderr %q", code, s.err)
	}
}

func TestRunCleansUpAfterAShimThatDied(t *testing.T) {
	u := newTool(t)
	s := u.start("--", "sh", "-c", "echo ready; sleep 1000")
	u.killShim()
	if code := s.end(); code != 125 || !strings.Contains(s.err.String(), "the shim died") {
		t.Errorf("code %d, stderr %q", code, s.err)
	}
}

func TestAnInterruptEndsARunWhoseRuntimeHangs(t *testing.T) {
	u := newTool(t)
	dir := t.TempDir()
	called := filepath.Join(dir, "called")
	runtime := filepath.Join(dir, "runtime")
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in *' create '*) touch %s; exec sleep 1000;; esac\nexec runc \"$@\"\n", called)
	if err := os.WriteFile(runtime, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := u.command("--runtime", runtime, "--", "true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(harness.Patience)
	for {
		if _, err := os.Stat(called); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the runtime was not called")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+2 {
		t.Errorf("code %d", code)
	}
}

func TestTwoRunsCannotHaveOneID(t *testing.T) {
	u := newTool(t)
	s := u.start("--", "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done")
	code, _, errOut := u.run(nil, "--", "true")
	if code != 125 || !strings.Contains(errOut, "is taken") {
		t.Errorf("code %d, stderr %q", code, errOut)
	}
	s.signal(syscall.SIGTERM)
	if code := s.end(); code != 0 {
		t.Errorf("the first run: code %d, stderr %q", code, s.err)
	}
}

// killShim kills this tool's shim.
func (u *tool) killShim() {
	u.t.Helper()
	for _, pid := range harness.Processes(u.root + "/") {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil || exe != harness.Shim(u.t) {
			continue
		}
		h, err := client.HoldPid(pid)
		if err != nil {
			u.t.Fatal(err)
		}
		h.Signal(unix.SIGKILL)
		h.Close()
		return
	}
	u.t.Fatal("there is no shim")
}

// terminalRun is `holdfast run -it` on a terminal of its own.
type terminalRun struct {
	*started
	master console.Console
	slave  *os.File
	before unix.Termios
}

func (u *tool) startTerminal(width, height uint16, args ...string) *terminalRun {
	u.t.Helper()
	master, path, err := console.NewPty()
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { master.Close() })
	if err := master.Resize(console.WinSize{Width: width, Height: height}); err != nil {
		u.t.Fatal(err)
	}
	slave, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		u.t.Fatal(err)
	}
	u.t.Cleanup(func() { slave.Close() })
	r := &terminalRun{
		started: &started{Cmd: u.command(append([]string{"-it"}, args...)...), out: &harness.Output{}, err: &harness.Output{}, t: u.t},
		master:  master, slave: slave,
	}
	r.before = r.termios()
	r.Stdin, r.Stdout, r.Stderr = slave, slave, slave
	r.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	go io.Copy(r.out, master)
	if err := r.Start(); err != nil {
		u.t.Fatal(err)
	}
	return r
}

func (r *terminalRun) termios() unix.Termios {
	r.t.Helper()
	v, err := unix.IoctlGetTermios(int(r.slave.Fd()), unix.TCGETS)
	if err != nil {
		r.t.Fatal(err)
	}
	return *v
}

// wantRestored fails the test unless the terminal is what it was.
func (r *terminalRun) wantRestored() {
	r.t.Helper()
	if after := r.termios(); after != r.before {
		r.t.Errorf("the terminal was %+v and is %+v", r.before, after)
	}
}

func (r *terminalRun) typeKeys(keys string) {
	r.t.Helper()
	if _, err := io.WriteString(r.master, keys); err != nil {
		r.t.Fatal(err)
	}
}

func TestRunOnATerminalIsLikeBeingThere(t *testing.T) {
	r := newTool(t).startTerminal(123, 45, "--", "sh")
	r.waitFor("/ #")
	r.typeKeys("tty; stty size\r")
	r.waitFor("/dev/pts/0")
	r.waitFor("45 123")
	if err := r.master.Resize(console.WinSize{Width: 77, Height: 33}); err != nil {
		t.Fatal(err)
	}
	// The resize travels by a signal; asking again and again is how a person
	// would find out when it has arrived.
	r.typeKeys("until [ \"$(stty size)\" = '33 77' ]; do sleep 0.02; done; echo re''sized\r")
	r.waitFor("resized")
	// An interrupt is the container's key, not the tool's signal.
	r.typeKeys("sh -c 'trap \"echo inter\"rupted\"; exit\" INT; echo be\"\"gun; while :; do sleep 0.02; done'\r")
	r.waitFor("begun")
	r.typeKeys("\x03")
	r.waitFor("interrupted")
	r.typeKeys("exit 17\r")
	if code := r.end(); code != 17 {
		t.Errorf("code %d, %q", code, r.out)
	}
	r.wantRestored()
}

func TestTheTerminalIsRestoredAfterASignal(t *testing.T) {
	r := newTool(t).startTerminal(80, 24, "--", "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.02; done")
	r.waitFor("ready")
	if r.termios() == r.before {
		t.Error("the terminal is not raw while the container has it")
	}
	r.signal(syscall.SIGTERM)
	if code := r.end(); code != 5 {
		t.Errorf("code %d", code)
	}
	r.wantRestored()
}

func TestTheTerminalIsRestoredAfterTheShimsDeath(t *testing.T) {
	u := newTool(t)
	r := u.startTerminal(80, 24, "--", "sh", "-c", "echo ready; sleep 1000")
	r.waitFor("ready")
	u.killShim()
	if code := r.end(); code != 125 {
		t.Errorf("code %d", code)
	}
	r.wantRestored()
}

func TestTheTerminalIsRestoredAfterAFailedCreate(t *testing.T) {
	r := newTool(t).startTerminal(80, 24, "--", "no-such-command")
	if code := r.end(); code != 127 {
		t.Errorf("code %d, %q", code, r.out)
	}
	r.wantRestored()
}

func TestATerminalWithoutInputIsForOutputAlone(t *testing.T) {
	u := newTool(t)
	code, out, errOut := u.run(strings.NewReader("lost\n"), "-t", "--", "sh", "-c", "tty; [ -t 1 ] && echo yes")
	if code != 0 || out != "/dev/pts/0\r\nyes\r\n" {
		t.Errorf("code %d, stdout %q, stderr %q", code, out, errOut)
	}
}

func TestHelpAndVersion(t *testing.T) {
	path := harness.Tool(t)
	for _, args := range [][]string{{"help"}, {"--help"}, {"help", "run"}, {"run", "--help"}, {"version"}, {"--version"}} {
		out, err := exec.Command(path, args...).Output()
		if err != nil || len(out) == 0 {
			t.Errorf("%q: %v, %q", args, err, out)
		}
	}
	for _, args := range [][]string{{}, {"no-such-command"}, {"help", "no-such-command"}, {"version", "x"}} {
		cmd := exec.Command(path, args...)
		out, err := cmd.Output()
		if err == nil || cmd.ProcessState.ExitCode() != 125 || len(out) > 0 {
			t.Errorf("%q: %v, stdout %q", args, err, out)
		}
	}
}
