package tests

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// times is how often a test repeats itself: seldom, or as often as it is meant
// to when HOLDFAST_STRESS is set.
func times(seldom, often int) int {
	if os.Getenv("HOLDFAST_STRESS") != "" {
		return often
	}
	return seldom
}

// share is a directory that the containers of a test see as /share: by a file
// in it they are told something, or tell something, whether or not there is a
// daemon.
type share struct {
	d   *harness.Daemon
	dir string
}

func newShare(t *testing.T, d *harness.Daemon) share {
	t.Helper()
	s := share{d: d, dir: filepath.Join(d.Dir, "share")}
	if err := os.Mkdir(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return s
}

// into mounts it.
func (s share) into(spec *client.Spec) {
	spec.Mounts = append(spec.Mounts, client.SpecMount{
		Destination: "/share", Type: "bind", Source: s.dir, Options: []string{"bind"},
	})
}

func (s share) path(name string) string { return filepath.Join(s.dir, name) }

// say makes a file that a container waits for.
func (s share) say(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(s.path(name), nil, 0o666); err != nil {
		t.Fatal(err)
	}
}

func (s share) said(name string) bool {
	_, err := os.Stat(s.path(name))
	return err == nil
}

// await waits for a file that a container makes.
func (s share) await(name string) {
	s.d.Eventually("the container's word "+name, func() error {
		_, err := os.Stat(s.path(name))
		return err
	})
}

// until is a piece of shell that waits for say.
func until(name string) string { return "until [ -e /share/" + name + " ]; do sleep 0.01; done; " }

// pipeState tells how many bytes a pipe or fifo holds and whether it has room
// for more.
func pipeState(path string) (bytes int, full bool, err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, false, fmt.Errorf("open %s: %w", path, err)
	}
	defer unix.Close(fd)
	if bytes, err = unix.IoctlGetInt(fd, unix.TIOCINQ); err != nil {
		return 0, false, err
	}
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err = unix.Poll(fds, 0)
	return bytes, fds[0].Revents&unix.POLLOUT == 0, err
}

// logTo is the URI of a logger that is a shell script. In it $0 is to, a path
// in the daemon's directory, by which a logger that is left over is found.
func logTo(scheme, to, script string) string {
	return scheme + ":///bin/sh?-c=" + url.QueryEscape(script) + "&" + url.QueryEscape(to) + "="
}

// request is a container whose stdio is what its strings say, not fifos of
// ours.
type request struct {
	id             string
	stdin          string
	stdout, stderr string
	terminal       bool
	args           []string
	edit           func(*client.Spec)
	config         func([]byte) ([]byte, error) // changes the text of config.json
	before         func(*client.Bundle) error   // is called before the shim starts
	options        *runcopts.Options
}

// asked is a container made by a request.
type asked struct {
	*client.Shim
	t  *testing.T
	d  *harness.Daemon
	id string
}

// ask starts a shim and has it create the container. Its error is Create's:
// nothing is left then.
func ask(t *testing.T, d *harness.Daemon, r request) (*asked, error) {
	t.Helper()
	spec := client.DefaultSpec(d.Namespace, r.id, r.args...)
	spec.Process.Terminal = r.terminal
	if r.edit != nil {
		r.edit(spec)
	}
	config, err := spec.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if r.config != nil {
		if config, err = r.config(config); err != nil {
			t.Fatal(err)
		}
	}
	rootfs, err := d.Overlay(r.id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle(r.id, config)
	if err != nil {
		t.Fatal(err)
	}
	if r.before != nil {
		if err := r.before(b); err != nil {
			t.Fatal(err)
		}
	}
	s, err := d.Start(d.Ctx(), b, r.options)
	if err != nil {
		t.Fatal(err)
	}
	var options *wkt.Any
	if r.options != nil {
		if options, err = proto.Pack(r.options); err != nil {
			t.Fatal(err)
		}
	}
	a := &asked{Shim: s, t: t, d: d, id: r.id}
	if _, err := s.Task.Create(d.Ctx(), &task.CreateTaskRequest{
		Id: r.id, Bundle: b.Path, Rootfs: []*types.Mount{rootfs}, Options: options,
		Stdin: r.stdin, Stdout: r.stdout, Stderr: r.stderr, Terminal: r.terminal,
	}); err != nil {
		a.leave()
		return nil, err
	}
	return a, nil
}

func mustAsk(t *testing.T, d *harness.Daemon, r request) *asked {
	t.Helper()
	a, err := ask(t, d, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *asked) start() int {
	a.t.Helper()
	r, err := a.Task.Start(a.d.Ctx(), &task.StartRequest{Id: a.id})
	if err != nil {
		a.t.Fatal(err)
	}
	return int(r.Pid)
}

func (a *asked) wait() uint32 {
	a.t.Helper()
	r, err := a.Task.Wait(a.d.Ctx(), &task.WaitRequest{Id: a.id})
	if err != nil {
		a.t.Fatal(err)
	}
	return r.ExitStatus
}

func (a *asked) closeStdin(execID string) {
	a.t.Helper()
	if _, err := a.Task.CloseIO(a.d.Ctx(), &task.CloseIORequest{Id: a.id, ExecId: execID, Stdin: true}); err != nil {
		a.t.Fatal(err)
	}
}

// deleteInPassing calls Delete, which must not answer before the caller lets it:
// the whole life of another container is time enough for one that would. What it
// answers then is sent, and the channel closed.
func (a *asked) deleteInPassing() <-chan error {
	a.t.Helper()
	deleted := make(chan error, 1)
	go func() {
		defer close(deleted)
		_, err := a.Task.Delete(a.d.Ctx(), &task.DeleteRequest{Id: a.id})
		deleted <- err
	}()
	c := a.d.Run("true")
	c.Wait()
	c.Delete()
	select {
	case err := <-deleted:
		a.t.Errorf("Delete did not wait: %v", err)
	default:
	}
	return deleted
}

// end deletes the container and ends its shim.
func (a *asked) end() {
	a.t.Helper()
	if _, err := a.Task.Delete(a.d.Ctx(), &task.DeleteRequest{Id: a.id}); err != nil {
		a.t.Fatal(err)
	}
	a.leave()
}

// leave ends a shim that has no container.
func (a *asked) leave() {
	a.t.Helper()
	if err := a.Shutdown(a.d.Ctx()); err != nil {
		a.t.Fatal(err)
	}
	a.Close()
	if err := a.Bundle.Delete(); err != nil {
		a.t.Fatal(err)
	}
}

// askExec adds a process with stdio as the strings say.
func askExec(t *testing.T, d *harness.Daemon, s *client.Shim, container, id, stdout string, args ...string) {
	t.Helper()
	spec, err := json.Marshal(client.DefaultProcess(args...))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Task.Exec(d.Ctx(), &task.ExecProcessRequest{
		Id: container, ExecId: id, Stdout: stdout, Stderr: stdout, Spec: &wkt.Any{Value: spec},
	}); err != nil {
		t.Fatal(err)
	}
}
