package bootstrap

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
)

// delete calls delete as containerd does and returns what it answered and what it
// complained about.
func (n *node) delete(id string, env ...string) (*task.DeleteResponse, string) {
	n.t.Helper()
	dir := filepath.Join(n.bundles, id)
	cmd := n.command(id, "-bundle", dir, "delete")
	cmd.Env = append(cmd.Env, env...)
	if !exists(dir) {
		cmd.Dir = n.bundles
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		n.t.Fatalf("delete: %v: %s", err, stderr.String())
	}
	r := new(task.DeleteResponse)
	if err := r.Unmarshal(stdout.Bytes()); err != nil {
		n.t.Fatalf("delete answered %q: %v", stdout.Bytes(), err)
	}
	return r, stderr.String()
}

// killed checks an answer about a container of which nobody knows how it ended.
func killed(t *testing.T, r *task.DeleteResponse, pid int) {
	t.Helper()
	if int(r.Pid) != pid || r.ExitStatus != 137 {
		t.Errorf("answered pid %d, status %d; want %d, 137", r.Pid, r.ExitStatus, pid)
	}
	if age := time.Since(r.ExitedAt.AsTime()); age < 0 || age > time.Minute {
		t.Errorf("exited at %v", r.ExitedAt.AsTime())
	}
}

func TestDeleteLeavesNothingOfAContainer(t *testing.T) {
	for _, o := range []runcopts.Options{{}, {BinaryName: "runc"}, {BinaryName: "crun"}, {Root: "own"}} {
		t.Run(o.BinaryName+o.Root, func(t *testing.T) {
			n := newNode(t)
			if o.BinaryName == "crun" {
				o.BinaryName = n.crun()
			}
			if o.Root != "" {
				o.Root = filepath.Join(n.bundles, o.Root)
			}
			c := n.orphan("c1", o)
			socket := filepath.Join(c.dir, "pty.sock")
			s := mustBind(t, socket)
			unix.Close(s.fd)

			r, complaints := n.delete("c1")
			killed(t, r, c.pid)
			if complaints != "" {
				t.Errorf("complained: %s", complaints)
			}
			if left := c.remains(); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
			if exists(socket) {
				t.Error("the pty's socket is left")
			}
			if left, _ := os.ReadDir(n.sockets); len(left) > 0 {
				t.Errorf("sockets left: %v", left)
			}

			r, complaints = n.delete("c1")
			killed(t, r, c.pid)
			if complaints != "" {
				t.Errorf("again: complained: %s", complaints)
			}
		})
	}
}

func TestDeleteTellsTheTruthWhenItIsKnown(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	want := bundle.ExitRecord{Pid: 4711, Status: 3, ExitedAt: time.Unix(1700000000, 42).UTC()}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	r, complaints := n.delete("c1")
	got := bundle.ExitRecord{Pid: int(r.Pid), Status: r.ExitStatus, ExitedAt: r.ExitedAt.AsTime()}
	if got != want || complaints != "" {
		t.Errorf("answered %+v, complained %q", got, complaints)
	}
}

// Whatever the dead shim had no time to write, or wrote half.
func TestDeleteOnABundleThatIsNotWhole(t *testing.T) {
	half := func(path string) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, st.Size()/2)
	}
	garbage := func(path string) error { return os.WriteFile(path, []byte("\x00\xff{]garbage"), 0o600) }
	directory := func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }
	fifo := func(path string) error { return errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)) }
	damages := map[string]func(string) error{
		"removed": os.Remove, "half": half, "garbage": garbage, "a directory": directory, "a fifo": fifo,
	}
	for _, file := range []string{"address", "options.json", "runtime", "init.pid", "config.json", "log.json", "exit.json", "bootstrap.json", "log"} {
		t.Run(file, func(t *testing.T) {
			for name, damage := range damages {
				n := newNode(t)
				c := n.orphan("c1", runcopts.Options{})
				if err := (bundle.ExitRecord{Pid: c.pid, Status: 3, ExitedAt: time.Now()}).Write(c.dir); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join(c.dir, file)
				if !exists(path) {
					if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
				r, complaints := n.delete("c1")
				if file == "exit.json" {
					killed(t, r, c.pid)
				} else if int(r.Pid) != c.pid || r.ExitStatus != 3 {
					t.Errorf("%s: answered %+v", name, r)
				}
				if left := c.remains(); len(left) > 0 {
					t.Errorf("%s: left: %q", name, left)
				}
				for line := range strings.Lines(complaints) {
					if !strings.HasPrefix(line, "delete c1: ") || !strings.HasSuffix(line, "\n") {
						t.Errorf("%s: complained %q", name, line)
					}
				}
				if name == "removed" && complaints != "" {
					t.Errorf("%s: complained %q", name, complaints)
				}
				if strings.Count(complaints, "\n") > 1 {
					t.Errorf("%s: complained twice: %q", name, complaints)
				}
				c.cleanup()
			}
		})
	}
}

func without(list []string, parts ...string) []string {
	var rest []string
next:
	for _, s := range list {
		for _, part := range parts {
			if strings.Contains(s, part) {
				continue next
			}
		}
		rest = append(rest, s)
	}
	return rest
}

func TestDeleteWithoutABundle(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(n.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	dead := deadSocket(t, n, "c1")
	r, complaints := n.delete("c1")
	killed(t, r, 0)
	if complaints != "" {
		t.Errorf("complained: %s", complaints)
	}
	if exists(dead) {
		t.Error("the dead shim's socket is left")
	}
	// Nor with a working directory that is gone.
	dir := n.bundle("c2", nil)
	cmd := exec.Command("/bin/sh", append([]string{"-c", `rm -r "$PWD" && exec "$@"`, "sh", os.Args[0]}, n.command("c2", "delete").Args[1:]...)...)
	cmd.Dir, cmd.Env = dir, n.command("c2").Env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || r.Unmarshal(out) != nil || stderr.Len() > 0 {
		t.Errorf("%q, %v: %s", out, err, stderr.String())
	}
}

// The bundle goes, the container does not.
func TestDeleteWithoutABundleOfALivingContainer(t *testing.T) {
	n := newNode(t)
	c := n.orphan("c1", runcopts.Options{})
	if err := os.Rename(c.dir, c.dir+".gone"); err != nil {
		t.Fatal(err)
	}
	defer os.Rename(c.dir+".gone", c.dir)
	r, _ := n.delete("c1")
	killed(t, r, 0)
	if alive(c.pid) || exists(filepath.Join(c.root, "c1")) {
		t.Error("the runtime was not asked to delete it")
	}
}

func TestDeleteNeverKillsByAPidAlone(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	other := sleeper(t)
	if err := os.WriteFile(filepath.Join(dir, "init.pid"), strconv.AppendInt(nil, int64(other), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, config := range []string{
		`{}`,
		`{"linux":{"cgroupsPath":"/` + testNamespace() + `/c1"}}`,
		`{"linux":{"cgroupsPath":"/"}}`,
		`{"linux":{"cgroupsPath":"relative"}}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := n.delete("c1")
		killed(t, r, other)
		if !alive(other) {
			t.Fatalf("%s: killed the process that has the pid now", config)
		}
	}
}

// A cgroup that was named by hand may be shared.
func TestDeleteSparesACgroupThatIsNotNamedForTheContainer(t *testing.T) {
	n := newNode(t)
	c := n.orphan("c1", runcopts.Options{})
	config, err := os.ReadFile(filepath.Join(c.dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	// As if the container c2 were in the cgroup of c1.
	n.bundle("c2", nil)
	if err := os.WriteFile(filepath.Join(n.bundles, "c2", "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.bundles, "c2", "init.pid"), strconv.AppendInt(nil, int64(c.pid), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	n.delete("c2")
	if !alive(c.pid) || !alive(c.lodger) {
		t.Error("killed what is another container's")
	}
}

func TestDeleteOfAPausedContainer(t *testing.T) {
	n := newNode(t)
	c := n.orphan("c1", runcopts.Options{})
	c.must("pause", "c1")
	r, complaints := n.delete("c1")
	killed(t, r, c.pid)
	if left := c.remains(); len(left) > 0 || complaints != "" {
		t.Errorf("left: %q; complained: %s", left, complaints)
	}
}

// The shim died while runc create ran: there is a cgroup, and nothing that names
// a process.
func TestDeleteOfAContainerThatWasNeverMade(t *testing.T) {
	n := newNode(t)
	c := n.orphan("c1", runcopts.Options{})
	if err := errors.Join(os.Remove(filepath.Join(c.dir, "init.pid")), os.RemoveAll(filepath.Join(c.root, "c1"))); err != nil {
		t.Fatal(err)
	}
	r, complaints := n.delete("c1")
	killed(t, r, 0)
	if left := c.remains(); len(left) > 0 || complaints != "" {
		t.Errorf("left: %q; complained: %s", left, complaints)
	}
}

// Whatever is wrong with the runtime, the rest of the work is done, in time.
func TestDeleteWithARuntimeThatDoesNot(t *testing.T) {
	for _, c := range []struct{ name, script, says string }{
		{"hangs", "#!/bin/sh\nexec sleep 100000\n", "no answer within 100ms"},
		{"fails", "#!/bin/sh\necho two >&2\necho words >&2\nexit 3\n", "words"},
		{"is gone", "", "no OCI runtime"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			orphan := n.orphan("c1", runcopts.Options{})
			binary := filepath.Join(n.bundles, "runtime")
			if c.script != "" {
				if err := os.WriteFile(binary, []byte(c.script), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := bundle.WriteOptions(orphan.dir, &runcopts.Options{BinaryName: binary}); err != nil {
				t.Fatal(err)
			}
			r, complaints := n.delete("c1", "HOLDFAST_RUNC_TIMEOUT_DELETE=100ms")
			killed(t, r, orphan.pid)
			if strings.Count(complaints, "\n") != 1 || !strings.Contains(complaints, c.says) {
				t.Errorf("complained: %q, want %q", complaints, c.says)
			}
			// What only the runtime knows where to look for is all that may be left.
			if left := without(orphan.remains(), orphan.root); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

func TestDeleteLeavesALivingShimAlone(t *testing.T) {
	n := newNode(t)
	pod := map[string]string{"io.kubernetes.cri.sandbox-id": "p1"}
	n.bundle("p1", pod)
	n.bundle("c1", pod)
	address := n.mustStart("p1")
	n.mustStart("c1")
	pid := shimPid(t, address)
	r, complaints := n.delete("c1")
	killed(t, r, 0)
	if complaints != "" {
		t.Errorf("complained: %s", complaints)
	}
	if again := shimPid(t, address); again != pid {
		t.Errorf("process %d instead of %d", again, pid)
	}
	killAndReap(pid)
	n.delete("c1")
	if left, _ := os.ReadDir(n.sockets); len(left) > 0 {
		t.Errorf("sockets left: %v", left)
	}
}

func TestDeleteRemovesNoSocketThatIsNotAShims(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	if err := os.MkdirAll(n.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"docker.sock", strings.Repeat("0", 63), strings.Repeat("G", 64)} {
		path := filepath.Join(n.sockets, name)
		unix.Close(mustBind(t, path).fd)
		if err := bundle.WriteAddress(dir, "unix://"+path); err != nil {
			t.Fatal(err)
		}
		if n.delete("c1"); !exists(path) {
			t.Errorf("removed %s", path)
		}
	}
	file := filepath.Join(n.sockets, strings.Repeat("0", 64))
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bundle.WriteAddress(dir, "unix://"+file); err != nil {
		t.Fatal(err)
	}
	if _, complaints := n.delete("c1"); !exists(file) || !strings.Contains(complaints, "not a socket") {
		t.Errorf("removed a file, or was silent: %q", complaints)
	}
}

func TestDeleteWorksThoughNobodyListens(t *testing.T) {
	n := newNode(t)
	c := n.orphan("c1", runcopts.Options{})
	if err := os.WriteFile(filepath.Join(c.dir, "init.pid"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := n.command("c1", "-bundle", c.dir, "delete")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Run()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ProcessState.Sys() == nil {
		t.Errorf("ended with %v", err)
	}
	if left := c.remains(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

func TestDeleteWithoutNamespaceOrID(t *testing.T) {
	for _, args := range [][]string{{"-id", "c1", "delete"}, {"-namespace", "ns", "delete"}} {
		cmd := exec.Command("/proc/self/exe", args...)
		cmd.Env = append(os.Environ(), tinyEnv+"="+both)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 || len(out) > 0 || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: answered %q, %v: %s", args, out, err, stderr.String())
		}
	}
}

// The kernel closes the files of a killed process one after the other, and `delete`
// may be there before it has come to the socket.
func TestDeleteRemovesTheSocketOfAShimThatIsStillDying(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	if err := os.MkdirAll(n.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	path, err := socketPath(n.sockets, "/run/c.sock", testNamespace(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	s := mustBind(t, path)
	f := os.NewFile(uintptr(s.fd), path)
	s.fd = -1 // it is f's
	l, err := net.FileListener(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	died := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = errors.Join(l.Close(), conn.Close())
		}
		died <- err
	}()
	_, complaints := n.delete("c1")
	if err := <-died; err != nil {
		t.Error(err)
	}
	if exists(path) || complaints != "" {
		t.Errorf("the socket is there: %v; complained: %q", exists(path), complaints)
	}
}

// On a busy machine the runtime of a killed shim may not have been killed yet.
func TestDeleteEndsTheRuntimeThatADyingShimHasLeft(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	start := func(dir string) *exec.Cmd {
		// A shell that has the arguments of a runtime.
		cmd := exec.Command("/bin/sh", "-c", "sleep 100000; true", "runc", "--root", "/r", "--log", filepath.Join(dir, "log.json"), "create", "c1")
		cmd.Dir = dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			_ = cmd.Wait()
		})
		return cmd
	}
	left, others := start(dir), start(n.bundle("c2", nil))
	if _, complaints := n.delete("c1"); complaints != "" {
		t.Errorf("complained: %s", complaints)
	}
	if alive(left.Process.Pid) {
		t.Error("the runtime goes on")
	}
	if !alive(others.Process.Pid) {
		t.Error("another container's runtime was killed")
	}
}
