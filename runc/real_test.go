package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/reaper"
	"golang.org/x/sys/unix"
)

// container is a container of a real runtime, whose program sleeps until it is
// killed.
type container struct {
	*Runtime
	t    *testing.T
	init *reaper.Process
}

// eachRuntime runs a test with every real runtime there is.
func eachRuntime(t *testing.T, test func(t *testing.T, binary string)) {
	if os.Geteuid() != 0 {
		t.Fatal("REAL RUNTIMES NOT TESTED: needs root")
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Fatal("REAL RUNTIMES NOT TESTED: needs a static ", busybox)
	}
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			path, err := exec.LookPath(name)
			if err != nil {
				t.Fatal("NOT TESTED: ", name, " is not installed")
			}
			if name == "crun" {
				path = crunOutsideHybrid(t, path)
			}
			test(t, path)
		})
	}
}

const busybox = "/bin/busybox"

// crunOutsideHybrid is crun for nodes that mount cgroup v1 with a v2 hierarchy
// beside it, which crun refuses: it runs where the latter is not mounted.
func crunOutsideHybrid(t *testing.T, crun string) string {
	t.Helper()
	const unified = "/sys/fs/cgroup/unified"
	var fs unix.Statfs_t
	if unix.Statfs(unified, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return crun
	}
	file := filepath.Join(t.TempDir(), "crun")
	text := fmt.Sprintf(`#!/bin/sh
exec unshare --mount --propagation private sh -c 'umount %s && exec %s "$@"' crun "$@"
`, unified, crun)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// object is JSON to be.
type object = map[string]any

// spec is a configuration that needs few rights: no limits to raise, no score
// to lower.
func spec(cgroup string) object {
	return object{
		"ociVersion": "1.0.2",
		"process":    process("/bin/sleep", "1000"),
		"root":       object{"path": "rootfs"},
		"mounts":     []object{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux": object{
			"cgroupsPath": cgroup,
			"namespaces":  []object{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}},
		},
	}
}

func process(args ...string) object {
	return object{"user": object{"uid": 0, "gid": 0}, "args": args, "env": []string{"PATH=/bin"}, "cwd": "/"}
}

// newContainer makes a bundle; nothing is created yet.
func newContainer(t *testing.T, binary string) *container {
	t.Helper()
	noLeaks(t)
	dir := t.TempDir()
	id := fmt.Sprintf("t%d", logs.Add(1))
	c := &container{t: t, Runtime: &Runtime{
		Binary: binary,
		Root:   filepath.Join(dir, "root"),
		Bundle: filepath.Join(dir, "bundle"),
		ID:     id,
		Reaper: children,
	}}
	bin := filepath.Join(c.Bundle, "rootfs", "bin")
	for _, dir := range []string{bin, filepath.Join(c.Bundle, "rootfs", "proc"), filepath.Join(c.Bundle, "rootfs", "dev")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "busybox"), b, 0o755)
	}
	if err == nil {
		err = errors.Join(os.Symlink("busybox", filepath.Join(bin, "sleep")), os.Symlink("busybox", filepath.Join(bin, "true")))
	}
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("/holdfast-runc-test-%d", os.Getpid())
	c.write("config.json", spec(parent+"/"+id))
	t.Cleanup(func() {
		if err := c.Delete(context.Background(), true); err != nil {
			t.Errorf("clean up: %v", err)
		}
		left, err := filepath.Glob("/sys/fs/cgroup/*" + parent)
		if err != nil {
			t.Error(err)
		}
		for _, dir := range append(left, "/sys/fs/cgroup"+parent) {
			if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("clean up: %v", err)
			}
		}
	})
	return c
}

func (c *container) file(name string) string { return filepath.Join(c.Bundle, name) }

// write puts JSON, or a string as it is, into a file of the bundle.
func (c *container) write(name string, content any) string {
	c.t.Helper()
	text, ok := content.(string)
	if !ok {
		b, err := json.Marshal(content)
		if err != nil {
			c.t.Fatal(err)
		}
		text = string(b)
	}
	if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return c.file(name)
}

// adopt runs a verb that leaves a process and adopts that.
func (c *container) adopt(pidFile string, verb func() error) *reaper.Process {
	c.t.Helper()
	claim := children.Claim()
	defer claim.End()
	if err := verb(); err != nil {
		c.t.Fatal(err)
	}
	pid, err := ReadPidFile(pidFile)
	if err != nil {
		c.t.Fatal(err)
	}
	p, err := claim.Adopt(pid, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

func (c *container) create() {
	c.t.Helper()
	file := c.file("init.pid")
	c.init = c.adopt(file, func() error { return c.Create(context.Background(), CreateOpts{PidFile: file}) })
}

// exec runs a process in the container.
func (c *container) exec(args ...string) *reaper.Process {
	c.t.Helper()
	o := ExecOpts{ProcessFile: c.write("p.json", process(args...)), PidFile: c.file("p.pid")}
	return c.adopt(o.PidFile, func() error { return c.Exec(context.Background(), o) })
}

// is checks the runtime's own view of the container.
func (c *container) is(status string) {
	c.t.Helper()
	s, err := c.State(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	if s.Status != status || s.ID != c.ID || s.Bundle != c.Bundle {
		c.t.Errorf("%+v, want %s", *s, status)
	}
	if c.init != nil && status != "stopped" && s.Pid != c.init.Pid() {
		c.t.Errorf("init is %d, want %d", s.Pid, c.init.Pid())
	}
}

// stop kills init and waits for its end.
func (c *container) stop() {
	c.t.Helper()
	if err := c.Kill(context.Background(), int(unix.SIGKILL), false); err != nil {
		c.t.Fatal(err)
	}
	<-c.init.Done()
	if got := c.init.Exit().Status; got != 128+uint32(unix.SIGKILL) {
		c.t.Errorf("init ended with %d", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheLifeOfARealContainer(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		c.create()
		c.is("created")
		must(t, c.Start(ctx))
		c.is("running")
		p := c.exec("/bin/true")
		<-p.Done()
		if p.Exit().Status != 0 {
			t.Errorf("true ended with %d", p.Exit().Status)
		}
		must(t, c.Update(ctx, []byte(`{"pids":{"limit":321}}`)))
		limit := fmt.Sprintf("/holdfast-runc-test-%d/%s/pids.max", os.Getpid(), c.ID)
		v1, errV1 := os.ReadFile("/sys/fs/cgroup/pids" + limit)
		v2, errV2 := os.ReadFile("/sys/fs/cgroup" + limit)
		if string(v1)+string(v2) != "321\n" {
			t.Errorf("pids.max is %q (%v) or %q (%v)", v1, errV1, v2, errV2)
		}
		must(t, c.Pause(ctx))
		c.is("paused")
		must(t, c.Resume(ctx))
		c.is("running")
		c.stop()
		c.is("stopped")
		must(t, c.Delete(ctx, false))
		_, err := c.State(ctx)
		failure(t, err, ErrNotFound)
		if logs, err := filepath.Glob(c.file("log-*")); err != nil || len(logs) != 0 {
			t.Errorf("logs left: %q, %v", logs, err)
		}
	})
}

func TestARealRuntimeSaysThatThereIsNoContainer(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		p := c.write("p.json", process("/bin/true"))
		failure(t, c.Start(ctx), ErrNotFound)
		failure(t, c.Exec(ctx, ExecOpts{ProcessFile: p}), ErrNotFound)
		failure(t, c.Kill(ctx, 9, false), ErrNotFound)
		failure(t, c.Kill(ctx, 9, true), ErrNotFound)
		failure(t, c.Delete(ctx, false), ErrNotFound)
		failure(t, c.Pause(ctx), ErrNotFound)
		failure(t, c.Resume(ctx), ErrNotFound)
		failure(t, c.Update(ctx, []byte("{}")), ErrNotFound)
		_, err := c.State(ctx)
		failure(t, err, ErrNotFound)
		must(t, c.Delete(ctx, true))
	})
}

func TestARealRuntimeSaysInWhichStateAContainerIs(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		p := c.write("p.json", process("/bin/true"))
		c.create()
		failure(t, c.Create(ctx, CreateOpts{}), ErrExists)
		must(t, c.Start(ctx))
		failure(t, c.Start(ctx), ErrRunning)
		failure(t, c.Delete(ctx, false), ErrRunning)
		if err := c.Resume(ctx); err != nil { // crun does not mind
			failure(t, err, ErrNotPaused)
		}

		must(t, c.Pause(ctx))
		failure(t, c.Exec(ctx, ExecOpts{ProcessFile: p}), ErrPaused)
		if err := c.Delete(ctx, false); !errors.Is(err, ErrPaused) {
			failure(t, err, ErrRunning) // so crun
		}
		must(t, c.Resume(ctx))

		c.stop()
		failure(t, c.Exec(ctx, ExecOpts{ProcessFile: p}), ErrNotRunning)
		failure(t, c.Kill(ctx, 15, false), ErrNotRunning)
		failure(t, c.Start(ctx), ErrNotRunning)
		failure(t, c.Pause(ctx), ErrNotRunning)
		must(t, c.Kill(ctx, 9, true))
		must(t, c.Delete(ctx, false))
	})
}

func TestARealRuntimeRefusesWhatCannotWork(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		good, err := os.ReadFile(c.file("config.json"))
		must(t, err)
		for _, bad := range []string{"garbage", `{"ociVersion":5}`, `{"ociVersion":"1.0.2"}`} {
			c.write("config.json", bad)
			failure(t, c.Create(ctx, CreateOpts{PidFile: c.file("init.pid")}), ErrInvalid)
		}
		must(t, os.Remove(c.file("config.json")))
		failure(t, c.Create(ctx, CreateOpts{PidFile: c.file("init.pid")}), ErrInvalid)
		if exists(c.file("init.pid")) {
			t.Error("there is a pid file")
		}

		c.write("config.json", string(good))
		c.create()
		must(t, c.Start(ctx))
		failure(t, c.Update(ctx, []byte("garbage")), ErrInvalid)
		failure(t, c.Exec(ctx, ExecOpts{ProcessFile: c.write("p.json", "garbage")}), ErrInvalid)
		failure(t, c.Exec(ctx, ExecOpts{ProcessFile: c.write("p.json", object{"args": []string{"/bin/true"}})}), ErrInvalid)
		failure(t, c.Kill(ctx, 999, false), ErrInvalid)

		// Not the runtime's fault, nor a state of the container's.
		err = c.Exec(ctx, ExecOpts{ProcessFile: c.write("p.json", process("/bin/nope"))})
		if e := failure(t, err, nil); !strings.Contains(e.Message, "/bin/nope") || !strings.Contains(strings.ToLower(e.Message), "no such file or directory") {
			t.Errorf("%v", e)
		}
	})
}

func TestARealContainerIsDeletedAfterItsBundleIsGone(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		c.create()
		must(t, os.RemoveAll(c.Bundle))
		must(t, c.Delete(ctx, true))
		<-c.init.Done()
		e := failure(t, c.Delete(ctx, false), ErrNotFound)
		if e.Message == "" || strings.HasPrefix(e.Message, "{") {
			t.Errorf("the message is %q", e.Message)
		}
	})
}

func TestARealRuntimesFeatures(t *testing.T) {
	eachRuntime(t, func(t *testing.T, binary string) {
		noLeaks(t)
		b, err := Features(context.Background(), children, binary)
		if errors.Is(err, ErrUnsupported) {
			return // an old one
		}
		must(t, err)
		var f struct{ OciVersionMin string }
		if err := json.Unmarshal(b, &f); err != nil || f.OciVersionMin == "" {
			t.Errorf("features: %.100s, %v", b, err)
		}
	})
}

func TestACheckpointWithoutCriuIsUnsupported(t *testing.T) {
	if _, err := exec.LookPath("criu"); err == nil {
		t.Skip("criu is installed")
	}
	eachRuntime(t, func(t *testing.T, binary string) {
		ctx := context.Background()
		c := newContainer(t, binary)
		c.create()
		must(t, c.Start(ctx))
		failure(t, c.Checkpoint(ctx, CheckpointOpts{ImagePath: c.file("image"), LeaveRunning: true}), ErrUnsupported)
		c.is("running")
	})
}
