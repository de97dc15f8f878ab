package containerd

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
)

// engine is a dockerd on a containerd of a test.
type engine struct {
	*daemon
	dockerd *server // nil while it is down
}

// startDocker starts a containerd and a dockerd on it, which has busybox.
func startDocker(t *testing.T) *engine {
	t.Helper()
	e := &engine{daemon: startFor(t, docker)}
	for name, path := range map[string]string{"dockerd": e.release.dockerd, "docker": e.release.docker, "docker-init": e.release.dockerInit} {
		if path == "" {
			t.Fatalf("%s is missing: install Debian's package docker.io", name)
		}
	}
	if err := os.WriteFile(e.path("docker.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Before containerd's end, which looks for what is left.
	t.Cleanup(e.endEngine)
	e.upEngine()
	rootfs, err := layer(func(w *tar.Writer) error { return addTree(w, e.rootfs) })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.path("rootfs.tar"), rootfs, 0o600); err != nil {
		t.Fatal(err)
	}
	e.docker("import", "--change", "ENV PATH=/bin", "--change", `CMD ["sh"]`, e.path("rootfs.tar"), "busybox")
	return e
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

// dirsDocker are those that the runtime keeps its containers in for dockerd.
func (d *daemon) dirsDocker() []string {
	dirs, _ := filepath.Glob(d.path("x/runtime*/" + d.namespace)) // the pattern is well-formed
	return dirs
}

// upEngine starts dockerd, for the first time or again.
func (e *engine) upEngine() {
	e.t.Helper()
	// It touches nothing of the machine's: no bridge, no rules, no forwarding.
	cmd := exec.Command(e.release.dockerd,
		"--config-file", e.path("docker.json"),
		"--data-root", e.path("docker"),
		"--exec-root", e.path("x"),
		"--pidfile", e.path("dockerd.pid"),
		"--host", "unix://"+e.path("d.sock"),
		"--containerd", e.socket(),
		"--containerd-namespace", e.namespace,
		"--containerd-plugins-namespace", e.namespace+"-plugins",
		"--init-path", e.release.dockerInit,
		"--storage-driver", "overlay2",
		"--cgroup-parent", "/"+e.scope,
		"--live-restore",
		"--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false",
	)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(e.release.dockerd)+":"+os.Getenv("PATH"), "TMPDIR="+e.path("tmp"))
	s, err := live.serve(cmd, e.path("dockerd.log"))
	if err != nil {
		e.t.Fatal(err)
	}
	e.dockerd = s
	e.eventually("dockerd serves", func() error {
		select {
		case <-s.ended:
			e.tellEngine()
			e.t.Fatal("dockerd has ended while it was to come up")
		default:
		}
		conn, err := net.Dial("unix", e.path("d.sock"))
		if err != nil {
			return err
		}
		conn.Close()
		version, err := e.tryDocker("version", "--format", "{{.Server.Version}}")
		if err == nil && version.err != nil {
			err = fmt.Errorf("%w: %s", version.err, version.Err)
		}
		return err
	})
}

// downEngine ends dockerd and waits until it is gone.
func (e *engine) downEngine(sig syscall.Signal) {
	e.t.Helper()
	if e.dockerd == nil {
		return
	}
	if err := e.dockerd.end(sig); err != nil {
		e.t.Errorf("dockerd: %v", err)
	}
	e.dockerd = nil
}

// endEngine ends dockerd, and unmounts what it has for itself.
func (e *engine) endEngine() {
	if !e.t.Failed() {
		if left := strings.Fields(e.docker("ps", "-aq")); len(left) > 0 {
			e.t.Errorf("the test ended with containers %q", left)
		}
	}
	e.downEngine(syscall.SIGTERM)
	if e.t.Failed() {
		e.tellEngine()
	}
	for _, dir := range []string{"docker", "x"} {
		if err := client.UnmountAll(e.path(dir)); err != nil {
			e.t.Error(err)
		}
	}
}

func (e *engine) tellEngine() {
	b, _ := os.ReadFile(e.path("dockerd.log")) // it may not have come to that
	const tail = 6 << 10
	if len(b) > tail {
		b = b[len(b)-tail:]
	}
	e.t.Logf("dockerd's log:\n%s", b)
}

func (e *engine) dockerCommand(args ...string) *exec.Cmd {
	cmd := exec.Command(e.release.docker, args...)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.path("d.sock"), "DOCKER_CONFIG="+e.path("tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// tryDocker runs a docker to its end. It may be called from any goroutine.
func (e *engine) tryDocker(args ...string) (*session, error) {
	return e.tryWith(e.dockerCommand(args...), "", args)
}

// dockerWith runs a docker to its end with that on its standard input.
func (e *engine) dockerWith(stdin string, args ...string) *session {
	e.t.Helper()
	s, err := e.tryWith(e.dockerCommand(args...), stdin, args)
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

// docker runs a docker that has to succeed and returns its output.
func (e *engine) docker(args ...string) string {
	e.t.Helper()
	s := e.dockerWith("", args...)
	if code := s.code(); code != 0 {
		e.t.Fatalf("%s: exit code %d: %s", s, code, s.Err)
	}
	return s.Out.String()
}

// runDocker starts a container in the background and returns its id, once its
// shim was proved.
func (e *engine) runDocker(name string, flags []string, args ...string) string {
	e.t.Helper()
	all := append([]string{"run", "--network", "none", "-d", "--name", name}, flags...)
	id := strings.TrimSpace(e.docker(append(append(all, "busybox"), args...)...))
	e.shimOf(id)
	return id
}

// inspected is what dockerd knows of a container.
type inspected struct {
	ID           string `json:"Id"`
	RestartCount int
	State        struct {
		Status            string
		Pid, ExitCode     int
		OOMKilled, Paused bool
	}
}

func (e *engine) inspect(name string) inspected {
	e.t.Helper()
	var all []inspected
	text := e.docker("inspect", name)
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		e.t.Fatalf("docker inspect: %v: %s", err, text)
	}
	return all[0]
}

// waitState waits until a container is in the state wanted.
func (e *engine) waitState(name string, want func(inspected) bool) inspected {
	e.t.Helper()
	var i inspected
	e.eventually(name+" is as it should be", func() error {
		if i = e.inspect(name); !want(i) {
			return fmt.Errorf("%w: %+v", errNotYet, i)
		}
		return nil
	})
	return i
}

func exitedWith(code int) func(inspected) bool {
	return func(i inspected) bool { return i.State.Status == "exited" && i.State.ExitCode == code }
}
