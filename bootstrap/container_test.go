package bootstrap

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/mount"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/runc"
)

// container is a real one, whose shim (this test) does not look after it.
type container struct {
	t       *testing.T
	id      string
	dir     string // bundle
	root    string // of the OCI runtime, with the namespace
	cgroup  string // path in every hierarchy that has it
	pid     int    // of init
	lodger  int    // another process in the same cgroup that is not in the pid namespace
	runtime string
}

// orphan makes a container as a shim does that dies afterwards. options say
// which runtime makes it.
func (n *node) orphan(id string, o runcopts.Options) *container {
	t := n.t
	t.Helper()
	c := &container{
		t: t, id: id, dir: n.bundle(id, nil), runtime: o.BinaryName,
		root: filepath.Join(defaultRuntimeRoot, testNamespace()), cgroup: "/" + testNamespace() + "/" + id,
	}
	if c.runtime == "" {
		c.runtime = "runc"
	}
	if o.Root != "" {
		c.root = filepath.Join(o.Root, testNamespace())
	}
	t.Cleanup(c.cleanup)

	// A rootfs with a mount inside.
	rootfs := filepath.Join(c.dir, "rootfs")
	if err := unix.Mount("tmpfs", rootfs, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"bin", "dev", "proc", "sys", "data"} {
		if err := os.Mkdir(filepath.Join(rootfs, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("tmpfs", filepath.Join(rootfs, "data"), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("THESE TESTS NEED A STATIC BUSYBOX: %v", err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "bin/sleep"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}

	config, err := json.Marshal(map[string]any{
		"ociVersion": "1.0.2",
		"process":    map[string]any{"user": map[string]any{}, "args": []string{"/bin/sleep", "100000"}, "cwd": "/"},
		"root":       map[string]any{"path": "rootfs"},
		"mounts":     []any{map[string]any{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux": map[string]any{
			"cgroupsPath": c.cgroup,
			"namespaces":  []any{map[string]any{"type": "pid"}, map[string]any{"type": "mount"}, map[string]any{"type": "ipc"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "config.json"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := bundle.WriteOptions(c.dir, &o); err != nil {
		t.Fatal(err)
	}
	if err := bundle.WriteRuntime(c.dir, o.BinaryName); err != nil {
		t.Fatal(err)
	}
	if err := bundle.WriteAddress(c.dir, "unix://"+deadOrNew(t, n, id)); err != nil {
		t.Fatal(err)
	}
	c.must("create", "--bundle", c.dir, "--pid-file", filepath.Join(c.dir, "init.pid"), id)
	c.must("start", id)
	if c.pid, err = runc.ReadPidFile(filepath.Join(c.dir, "init.pid")); err != nil {
		t.Fatal(err)
	}
	c.lodger = sleeper(t)
	for _, dir := range c.groups() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.lodger)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.groups()) == 0 {
		t.Fatalf("%s made no cgroup %s", c.runtime, c.cgroup)
	}
	return c
}

// crun is a crun that works on this machine: it refuses to where both versions of
// cgroups are in use, as here.
func (n *node) crun() string {
	n.t.Helper()
	path := filepath.Join(n.bundles, "crun")
	const script = `#!/bin/sh
exec unshare -m --propagation slave sh -c 'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun "$@"' crun "$@"
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		n.t.Fatal(err)
	}
	return path
}

func deadOrNew(t *testing.T, n *node, group string) string {
	if err := os.MkdirAll(n.sockets, 0o700); err != nil {
		t.Fatal(err)
	}
	return deadSocket(t, n, group)
}

// sleeper starts a process that does nothing.
func sleeper(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "100000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	t.Cleanup(func() { killAndReap(pid) })
	return pid
}

func (c *container) must(args ...string) {
	c.t.Helper()
	cmd := exec.Command(c.runtime, append([]string{"--root", c.root, "--log", filepath.Join(c.dir, "log.json"), "--log-format", "json"}, args...)...)
	// Its output would be the container's.
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(c.dir, "log.json"))
		c.t.Fatalf("%s %s: %v: %s", c.runtime, args, err, log)
	}
}

// groups lists the directories of the container's cgroup that exist.
func (c *container) groups() []string {
	dirs, err := filepath.Glob("/sys/fs/cgroup/*" + c.cgroup)
	if err != nil {
		c.t.Fatal(err)
	}
	if exists("/sys/fs/cgroup" + c.cgroup) {
		dirs = append(dirs, "/sys/fs/cgroup"+c.cgroup)
	}
	return dirs
}

// remains lists what is left of the container: nothing when Delete did its work.
func (c *container) remains() []string {
	var left []string
	for name, pid := range map[string]int{"init": c.pid, "the lodger": c.lodger} {
		if alive(pid) {
			left = append(left, fmt.Sprintf("%s (process %d)", name, pid))
		}
	}
	left = append(left, c.groups()...)
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " "+c.dir+"/") {
			left = append(left, "mount "+line)
		}
	}
	if exists(filepath.Join(c.root, c.id)) {
		left = append(left, filepath.Join(c.root, c.id))
	}
	return left
}

// cleanup is for a test that failed.
func (c *container) cleanup() {
	for _, dir := range c.groups() {
		os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0)
	}
	for _, pid := range []int{c.pid, c.lodger} {
		if pid > 0 {
			killAndReap(pid)
		}
	}
	exec.Command(c.runtime, "--root", c.root, "delete", "--force", c.id).Run()
	mount.UnmountAll(filepath.Join(c.dir, "rootfs"))
	for _, dir := range c.groups() {
		os.Remove(dir)
	}
	for _, dir := range c.groups() {
		c.t.Errorf("cgroup %s cannot be removed", dir)
	}
	parents, _ := filepath.Glob("/sys/fs/cgroup/*/" + testNamespace())
	for _, dir := range append(parents, "/sys/fs/cgroup/"+testNamespace()) {
		os.Remove(dir)
	}
	os.RemoveAll(c.root)
}
