package checkpoint

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// buildHolder builds the program that holds what criu must be allowed to write
// down. It runs where there are no libraries, so never with the race detector.
var buildHolder = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "holder")
	cmd := exec.Command("go", "build", "-o", path, "./holder")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(path)
})

// holder makes a directory with the holder in it.
func holder(t *testing.T, d *harness.Daemon) (dir string) {
	t.Helper()
	program, err := buildHolder()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(d.Dir, "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "holder"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// holding wants a container that runs the holder and sees its directory where it is
// outside.
func holding(dir string, args ...string) harness.Want {
	return harness.Want{Args: append([]string{filepath.Join(dir, "holder")}, args...), Edit: func(s *client.Spec) {
		s.Mounts = append(s.Mounts, client.SpecMount{
			Type: "bind", Source: dir, Destination: dir, Options: []string{"rbind", "rw"},
		})
	}}
}

// refusedWithout writes the container down with o, after it was refused without.
func refusedWithout(t *testing.T, d *harness.Daemon, c *harness.Container, image, says string, o runcopts.CheckpointOptions) {
	t.Helper()
	err := c.Checkpoint(d.Ctx(), image, &runcopts.CheckpointOptions{Exit: true})
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Fatalf("without the option: %v", err)
	}
	counted(t, d, c, len(numbers(t, c.Out))+2) // it goes on
	o.Exit = true
	checkpoint(t, d, c, image, &o)
	c.Delete()
}

// wentOn fails the test unless the second container counts where the first ended.
func wentOn(t *testing.T, d *harness.Daemon, c, r *harness.Container) {
	t.Helper()
	counted(t, d, r, 3)
	all := slices.Concat(numbers(t, c.Out), numbers(t, r.Out))
	for i, n := range all {
		if n != i+1 {
			t.Fatalf("number %d is %d: %v", i+1, n, all)
		}
	}
}

// restoredWith runs what is wanted, writes it down with o after that was refused
// without, and restores it: r has gone on where c ended.
func restoredWith(t *testing.T, d *harness.Daemon, want harness.Want, says string, o runcopts.CheckpointOptions) (c, r *harness.Container) {
	t.Helper()
	image := filepath.Join(d.Dir, "image")
	c = d.CreateWant(want)
	c.Start()
	counted(t, d, c, 3)
	refusedWithout(t, d, c, image, says, o)
	want.Checkpoint = image
	r = d.CreateWant(want)
	r.Start()
	wentOn(t, d, c, r)
	return c, r
}

func TestAFileLockIsRestoredIfItMayBe(t *testing.T) {
	d := start(t)
	dir := holder(t, d)
	want := holding(dir, "lock", filepath.Join(dir, "lock"))
	_, r := restoredWith(t, d, want, "file lock", runcopts.CheckpointOptions{FileLocks: true})
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	if inode := fmt.Sprintf(":%d ", inodeOf(st)); !strings.Contains(string(locks), inode) {
		t.Errorf("no lock of inode %s in\n%s", inode, locks)
	}
	r.Finish()
}

func TestASocketToTheOutsideIsRestoredIfItMayBe(t *testing.T) {
	d := start(t)
	dir := holder(t, d)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var came harness.Output
	go func() {
		buf := make([]byte, 100)
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			came.Write(buf[:n])
		}
	}()
	want := holding(dir, "unix", filepath.Join(dir, "s"))
	mount := want.Edit
	want.Edit = func(spec *client.Spec) {
		mount(spec)
		// Criu looks for the peer in the container's network namespace.
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(n client.SpecNamespace) bool { return n.Type == "network" })
	}
	c, r := restoredWith(t, d, want, "ext-unix-sk", runcopts.CheckpointOptions{ExternalUnixSockets: true})
	all := slices.Concat(numbers(t, c.Out), numbers(t, r.Out))
	if err := came.Wait(d.Ctx(), fmt.Sprintf("\n%d\n", all[len(all)-1])); err != nil {
		t.Error(err)
	}
	r.Finish()
}

// The connection is inside a pod, whose network stays.
func TestATCPConnectionIsRestoredIfItMayBe(t *testing.T) {
	d := start(t)
	pod := d.Run("sleep", "1000")
	s, err := pod.State(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	want := holding(holder(t, d), "tcp", "127.0.0.1:4000")
	mount := want.Edit
	want.Edit = func(spec *client.Spec) {
		mount(spec)
		spec.Namespace("network").Path = fmt.Sprintf("/proc/%d/ns/net", s.Pid)
	}
	want.Sandbox, want.Join = pod, true
	_, r := restoredWith(t, d, want, "tcp-established", runcopts.CheckpointOptions{OpenTcp: true})
	r.Finish()
	pod.Finish()
}

func TestEveryModeOfCgroupsIsTaken(t *testing.T) {
	d := start(t)
	for _, mode := range []string{"soft", "full", "strict"} {
		image := filepath.Join(d.Dir, mode)
		c := d.Run(counting...)
		counted(t, d, c, 3)
		if err := pause(d, c); err != nil {
			t.Fatal(err)
		}
		checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true, CgroupsMode: mode})
		c.Delete()
		// Under the old id, so that it is the same cgroup.
		r := d.CreateWant(harness.Want{ID: c.ContainerID, Args: counting, Checkpoint: image})
		if err := r.Container.Process.Kill(d.Ctx(), 0); err == nil {
			t.Error("it was there before the start")
		}
		if _, err := r.Container.Start(d.Ctx()); err != nil {
			t.Errorf("%s: %v", mode, err)
			r.Delete()
			continue
		}
		wentOn(t, d, c, r)
		r.Finish()
	}
}

func TestBadRequestsAreNamed(t *testing.T) {
	d := start(t)
	c := d.Run(counting...)
	image := filepath.Join(d.Dir, "image")
	for _, bad := range []struct {
		name, path string
		options    runcopts.CheckpointOptions
		code       codes.Code
		says       string
	}{
		{"no path", "", runcopts.CheckpointOptions{}, codes.InvalidArgument, "no path for the image"},
		{"relative path", "image", runcopts.CheckpointOptions{}, codes.InvalidArgument, `image path "image": not an absolute path`},
		{"relative work path", image, runcopts.CheckpointOptions{WorkPath: "work"}, codes.InvalidArgument, `work path "work": not an absolute path`},
		{"a mode that is none", image, runcopts.CheckpointOptions{CgroupsMode: "warm"}, codes.InvalidArgument, "manage cgroups mode"},
		{"a namespace that is none", image, runcopts.CheckpointOptions{EmptyNamespaces: []string{"none"}}, codes.InvalidArgument, `"none"`},
		{"a parent that is absolute", image, runcopts.CheckpointOptions{ParentPath: "/parent"}, codes.InvalidArgument, "--parent-path must be relative"},
		{"a parent that is not there", image, runcopts.CheckpointOptions{ParentPath: "../parent"}, codes.InvalidArgument, "parent"},
		{"a file in the way", c.Bundle.Path + "/config.json/image", runcopts.CheckpointOptions{}, codes.InvalidArgument, "not a directory"},
	} {
		err := c.Checkpoint(d.Ctx(), bad.path, &bad.options)
		d.WantCode(bad.name, err, bad.code)
		if err != nil && !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: %v, want %q", bad.name, err, bad.says)
		}
		if _, err := os.Stat(image); !os.IsNotExist(err) {
			t.Errorf("%s: an image is left (%v)", bad.name, err)
		}
	}
	counted(t, d, c, len(numbers(t, c.Out))+2)
	c.Finish()
	d.WantStory(c, "create", "start", "exit 137", "delete 137")
}
