package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

// session is a ctr that runs, or has run.
type session struct {
	d        *daemon
	args     []string
	Out, Err *harness.Output

	cmd   *exec.Cmd
	stdin io.WriteCloser // nil unless the session was begun with begin
	ended chan struct{}  // closed when ctr has ended; then err is valid
	err   error
}

// command is ctr with the daemon's address and namespace.
func (d *daemon) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.release.ctr, append([]string{"-a", d.socket(), "-n", d.namespace}, args...)...)
	// That this machine has cgroup v1 is no part of what a container says.
	cmd.Env = append(os.Environ(), "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1")
	// An interrupt from the terminal is not for the containers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// launch starts a prepared ctr. It may be called from any goroutine.
func (d *daemon) launch(cmd *exec.Cmd, args []string) (*session, error) {
	s := &session{d: d, args: args, Out: &harness.Output{}, Err: &harness.Output{}, cmd: cmd, ended: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = s.Out, s.Err
	}
	// Should somebody keep ctr's output open, its end must come all the same.
	cmd.WaitDelay = 5 * time.Second
	if err := live.start(cmd); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.sessions = append(d.sessions, s)
	d.mu.Unlock()
	go func() {
		s.err = cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

// begin starts a ctr with an open standard input and leaves it running.
func (d *daemon) begin(args ...string) *session {
	d.t.Helper()
	s, err := d.tryBegin(args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// tryBegin is begin for any goroutine.
func (d *daemon) tryBegin(args ...string) (*session, error) {
	return d.beginWith(d.command(args...), args)
}

// beginWith starts a prepared command with an open standard input.
func (d *daemon) beginWith(cmd *exec.Cmd, args []string) (*session, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s, err := d.launch(cmd, args)
	if err != nil {
		return nil, err
	}
	s.stdin = stdin
	return s, nil
}

// write writes to the standard input of a session.
func (s *session) write(text string) {
	s.d.t.Helper()
	if _, err := io.WriteString(s.stdin, text); err != nil {
		s.d.t.Fatalf("%s: stdin: %v", s, err)
	}
}

// code waits for ctr's end and returns its exit code.
func (s *session) code() int {
	s.d.t.Helper()
	code, err := s.wait()
	if err != nil {
		s.d.t.Fatal(err)
	}
	return code
}

// wait is code for any goroutine.
func (s *session) wait() (int, error) {
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.kill()
		return 0, fmt.Errorf("%s: did not end within %v; out %q, err %q", s, patience, s.Out, s.Err)
	}
	var exit *exec.ExitError
	switch {
	case s.err == nil:
		return 0, nil
	case errors.As(s.err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return 0, fmt.Errorf("%s: %w; out %q, err %q", s, s.err, s.Out, s.Err)
}

// kill ends ctr at once: it forwards all signals that it may to the container.
func (s *session) kill() {
	s.cmd.Process.Kill()
	<-s.ended
}

// expect waits until text is in the output.
func (s *session) expect(text string) {
	s.d.t.Helper()
	if err := s.await(text); err != nil {
		s.d.t.Fatal(err)
	}
}

// await is expect for any goroutine.
func (s *session) await(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	go func() {
		select {
		case <-s.ended:
			cancel() // there will be no more
		case <-ctx.Done():
		}
	}()
	if err := s.Out.Wait(ctx, text); err != nil && !strings.Contains(s.Out.String(), text) {
		return fmt.Errorf("%s: %w; err %q", s, err, s.Err)
	}
	return nil
}

func (s *session) String() string { return filepath.Base(s.cmd.Path) + " " + strings.Join(s.args, " ") }

// ctr runs a ctr to its end, with nothing on its standard input.
func (d *daemon) ctr(args ...string) *session {
	d.t.Helper()
	s, err := d.try("", args...)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// try runs a ctr to its end and returns an error if that does not come. It may
// be called from any goroutine.
func (d *daemon) try(stdin string, args ...string) (*session, error) {
	return d.tryWith(d.command(args...), stdin, args)
}

// tryWith runs a prepared command to its end.
func (d *daemon) tryWith(cmd *exec.Cmd, stdin string, args []string) (*session, error) {
	if stdin != "" {
		cmd.Stdin = strings.NewReader(stdin)
	}
	s, err := d.launch(cmd, args)
	if err != nil {
		return nil, err
	}
	_, err = s.wait()
	return s, err
}

// must runs a ctr that has to succeed and returns its output.
func (d *daemon) must(args ...string) string {
	d.t.Helper()
	s := d.ctr(args...)
	if code := s.code(); code != 0 {
		d.t.Fatalf("%s: exit code %d: %s", s, code, s.Err)
	}
	return s.Out.String()
}

// refused runs a ctr that has to fail and to say why.
func (d *daemon) refused(why string, args ...string) {
	d.t.Helper()
	s := d.ctr(args...)
	if code := s.code(); code == 0 || !strings.Contains(s.Err.String(), why) {
		d.t.Errorf("%s: exit code %d, %q; want a failure that says %q", s, code, s.Err, why)
	}
}

// endSessions ends every ctr that still runs.
func (d *daemon) endSessions() {
	d.mu.Lock()
	sessions := d.sessions
	d.mu.Unlock()
	for _, s := range sessions {
		s.kill()
	}
	d.events.stop()
}

// runArgs are the arguments of `ctr run` for a container with the shared busybox
// as its root.
func (d *daemon) runArgs(flags []string, id string, args ...string) []string {
	d.expect(id)
	all := []string{"run", "--fifo-dir", d.fifos(), "--env", "PATH=/bin"}
	all = append(append(all, flags...), "--rootfs", d.rootfs, id)
	return append(all, args...)
}

// fifos is where ctr makes its fifos.
func (d *daemon) fifos() string { return filepath.Join(d.dir, "fifo") }

// run starts a container in the background and returns its shim's pid, which it
// has proved to run the binary under test.
func (d *daemon) run(id string, args ...string) int {
	d.t.Helper()
	return d.runWith(nil, id, args...)
}

// runWith is run with further flags for ctr.
func (d *daemon) runWith(flags []string, id string, args ...string) int {
	d.t.Helper()
	d.must(d.runArgs(append([]string{"-d"}, flags...), id, args...)...)
	return d.shimOf(id)
}

// attached begins a container in the foreground, with flags for ctr. Ctr
// removes it at its end.
func (d *daemon) attached(flags []string, id string, args ...string) *session {
	d.t.Helper()
	return d.begin(d.runArgs(append([]string{"--rm"}, flags...), id, args...)...)
}

// execArgs are the arguments of `ctr task exec`.
func (d *daemon) execArgs(flags []string, id, exec string, args ...string) []string {
	all := append([]string{"task", "exec", "--fifo-dir", d.fifos(), "--exec-id", exec}, flags...)
	return append(append(all, id), args...)
}

// exec runs a process in a container to its end.
func (d *daemon) exec(id, exec string, args ...string) *session {
	d.t.Helper()
	return d.ctr(d.execArgs(nil, id, exec, args...)...)
}

// finish kills a container and removes it.
func (d *daemon) finish(id string) {
	d.t.Helper()
	// It may have ended already.
	d.ctr("task", "kill", "-s", "KILL", id)
	d.stopped(id)
	d.remove(id)
}

// remove removes a container that has ended.
func (d *daemon) remove(id string) {
	d.t.Helper()
	d.must("task", "rm", id)
	d.must("container", "rm", id)
}

// task is a line of `ctr task ls`.
type task struct {
	pid    int
	status string
}

// task looks a task up; there is none of that id if ok is false.
func (d *daemon) task(id string) (t task, ok bool) {
	d.t.Helper()
	for line := range strings.Lines(d.must("task", "ls")) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == id {
			if _, err := fmt.Sscan(f[1], &t.pid); err != nil {
				d.t.Fatalf("ctr task ls: %q", line)
			}
			t.status = f[2]
			return t, true
		}
	}
	return task{}, false
}

// status waits until a task has that status.
func (d *daemon) status(id, want string) {
	d.t.Helper()
	d.eventually(id+" is "+want, func() error {
		if t, ok := d.task(id); !ok || t.status != want {
			return fmt.Errorf("%w: it is there: %v, and %q", errNotYet, ok, t.status)
		}
		return nil
	})
}

func (d *daemon) stopped(id string) { d.t.Helper(); d.status(id, "STOPPED") }
