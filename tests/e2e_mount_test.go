package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// runMounted runs a command on a rootfs of these mounts and returns its output.
// That the mounts are undone is the harness's last question.
func runMounted(t *testing.T, d *harness.Daemon, mounts []*types.Mount, command string) string {
	t.Helper()
	c := d.CreateWant(harness.Want{Args: []string{"sh", "-c", command}, Rootfs: mounts})
	c.Start()
	c.Wait()
	rootfs := filepath.Join(c.Bundle.Path, "rootfs")
	if _, err := c.Shim.Task.Delete(d.Ctx(), deleteOf(c)); err != nil {
		t.Fatal(err)
	}
	// Before the bundle goes, because its removal would unmount too.
	if left, err := client.MountsUnder(rootfs); err != nil || len(left) > 0 {
		t.Errorf("after the task's delete, mounted: %q, %v", left, err)
	}
	if _, err := c.Container.Delete(d.Ctx()); err != nil && !strings.Contains(err.Error(), "not found") {
		t.Error(err)
	}
	return c.Out.String() + c.Err.String()
}

func TestARootfsCanBeABindMount(t *testing.T) {
	d := harness.New(t)
	out := runMounted(t, d, []*types.Mount{
		{Type: "bind", Source: harness.Rootfs(t), Options: []string{"rbind", "ro"}},
	}, "echo hi; touch /x")
	if !strings.HasPrefix(out, "hi\n") || !strings.Contains(out, "Read-only file system") {
		t.Errorf("output %q", out)
	}
}

func TestAWritableBindMountIsWritten(t *testing.T) {
	d := harness.New(t)
	rootfs := filepath.Join(d.Dir, "own")
	if err := client.MakeRootfs(rootfs); err != nil {
		t.Fatal(err)
	}
	runMounted(t, d, []*types.Mount{
		{Type: "bind", Source: rootfs, Options: []string{"rbind", "rw"}},
	}, "echo written > /x")
	if got := readFile(t, filepath.Join(rootfs, "x")); got != "written\n" {
		t.Errorf("file holds %q", got)
	}
}

func TestARootfsCanBeAnOverlay(t *testing.T) {
	d := harness.New(t)
	m, err := d.Overlay("o")
	if err != nil {
		t.Fatal(err)
	}
	if out := runMounted(t, d, []*types.Mount{m}, "echo written > /x; cat /x"); out != "written\n" {
		t.Errorf("output %q", out)
	}
	if got := readFile(t, filepath.Join(d.Dir, "layers/o/upper/x")); got != "written\n" {
		t.Errorf("the upper layer's file holds %q", got)
	}
}

// Option strings longer than a page: images with many layers.
func TestAnOverlayOfManyLayers(t *testing.T) {
	d := harness.New(t)
	long := strings.Repeat("l", 100)
	lowers := []string{harness.Rootfs(t)}
	for i := range 60 {
		dir := filepath.Join(d.Dir, fmt.Sprintf("%s%d", long, i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("layer%d", i)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		lowers = append(lowers, dir)
	}
	m, err := d.Overlay("many")
	if err != nil {
		t.Fatal(err)
	}
	m.Options[0] = "lowerdir=" + strings.Join(lowers, ":")
	if n := len(strings.Join(m.Options, ",")); n <= os.Getpagesize() {
		t.Fatalf("the options are %d bytes, not more than a page", n)
	}
	if out := runMounted(t, d, []*types.Mount{m}, "ls / | grep -c layer"); out != "60\n" {
		t.Errorf("output %q", out)
	}
}

func TestMountsInsideTheRootfsAreMadeInOrderAndUndone(t *testing.T) {
	d := harness.New(t)
	data := filepath.Join(d.Dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "file"), []byte("inner\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay, err := d.Overlay("n")
	if err != nil {
		t.Fatal(err)
	}
	out := runMounted(t, d, []*types.Mount{
		overlay,
		{Type: "bind", Source: data, Target: "/mnt", Options: []string{"rbind", "ro"}},
	}, "cat /mnt/file; touch /mnt/x")
	if !strings.HasPrefix(out, "inner\n") || !strings.Contains(out, "Read-only file system") {
		t.Errorf("output %q", out)
	}
}

// They are for the daemon's mount manager; one that comes here was not handled,
// and a rootfs that lacks it is not what was asked for.
func TestAnOptionForTheDaemonIsRefusedByName(t *testing.T) {
	d := harness.New(t)
	_, err := d.TryCreate(harness.Want{Args: []string{"true"}, Rootfs: []*types.Mount{
		{Type: "bind", Source: harness.Rootfs(t), Options: []string{"rbind", "ro", "X-containerd.some=thing"}},
	}})
	if err == nil || !strings.Contains(err.Error(), "X-containerd.some") {
		t.Errorf("error: %v", err)
	}
}

// containerd 4020, 11376: a busy rootfs must not keep the pod.
func TestABusyRootfsIsLetGo(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	held, err := os.Open(filepath.Join(c.Bundle.Path, "rootfs", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c.Finish()
}

func TestReadonlyRootOfTheSpec(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: []string{"sh", "-c", "touch /x"},
		Edit: func(s *client.Spec) { s.Root.Readonly = true },
	})
	c.Start()
	if got := c.Wait(); got == 0 {
		t.Error("written to a read-only root")
	}
	c.Delete()
}
