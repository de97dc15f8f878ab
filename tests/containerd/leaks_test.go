package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// goneAfter is how long what was ended may take to be gone.
const goneAfter = 15 * time.Second

// expect remembers that a shim may be started for that group, which for a
// container alone is its id.
func (d *daemon) expect(group string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups[group] = true
}

// sockets are the paths that those of this daemon's shims may have. Containerd 1.6
// names no directory for them, so they are where all shims have theirs, under a
// name that is the daemon's own.
func (d *daemon) sockets() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	groups := maps.Clone(d.groups)
	// Of others than ctr, who name their containers themselves.
	for _, id := range d.events.containers() {
		groups[id] = true
	}
	var paths []string
	for group := range groups {
		sum := sha256.Sum256([]byte(filepath.Join(d.socket(), d.namespace, group)))
		paths = append(paths, filepath.Join("/run/containerd/s", hex.EncodeToString(sum[:])))
	}
	slices.Sort(paths)
	return paths
}

// checkLeaks fails the test when something of the daemon's containers is still
// there.
func (d *daemon) checkLeaks() {
	d.t.Helper()
	harness.CheckLeaks(d.t, goneAfter, d.leaks)
}

// leaks lists what there is of this daemon's containers: processes, zombies,
// sockets, mounts, cgroups, the runtime's state and bundles.
func (d *daemon) leaks() ([]string, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, pid := range pids {
		if what := d.owns(pid); what != "" {
			left = append(left, fmt.Sprintf("process %d: %s", pid, what))
		}
	}
	bundles := []string{d.bundle(""), filepath.Join(d.dir, "root", "io.containerd.runtime.v2.task", d.namespace)}
	dirs := append([]string{d.runtimeRoot()}, bundles...)
	switch d.user {
	case kubernetes:
		dirs = append(dirs, d.dirsCRI()...)
	case docker:
		dirs = append(dirs, d.dirsDocker()...)
	}
	rest, err := harness.Places{Sockets: d.sockets(), Mounts: d.dir, Cgroups: d.scope, Dirs: dirs}.Left()
	if err != nil {
		return nil, err
	}
	if d.interrupted {
		// Containerd hides a bundle before it removes it, as .ID, and one that is ended
		// in between does not look at what is hidden when it is back.
		rest = slices.DeleteFunc(rest, func(path string) bool {
			return slices.Contains(bundles, filepath.Dir(path)) && strings.HasPrefix(filepath.Base(path), ".")
		})
	}
	return append(left, rest...), nil
}

// runtimeRoot is where the runtime keeps this namespace's containers. A namespace
// that others may have as well has a directory of this daemon's.
func (d *daemon) runtimeRoot() string {
	if d.user == kubernetes {
		return filepath.Join(d.dir, "runc", d.namespace)
	}
	return filepath.Join("/run/containerd/runc", d.namespace)
}

// owns says what a process is to this daemon; it is empty for what is not its
// own, for containerd and for the ctr that prints events. Shims and runtimes
// name the daemon's directory in their arguments. A container's process is
// known by its cgroup, and so is its zombie; other zombies by whose they are to
// reap.
func (d *daemon) owns(pid int) string {
	if pid == d.pid() || pid == d.events.pid() {
		return ""
	}
	if what := d.touches(pid); what != "" {
		return what
	}
	state, ppid, err := stat(pid)
	if err == nil && state == 'Z' && d.containerd != nil && ppid == d.pid() {
		return "a zombie of containerd's: " + strings.TrimSpace(readProc(pid, "comm"))
	}
	return ""
}

// touches is owns without exceptions and without zombies that only their parents
// know.
func (d *daemon) touches(pid int) string {
	if line := harness.Cmdline(pid); strings.Contains(line, d.dir+"/") {
		return line
	}
	if strings.Contains(readProc(pid, "cgroup"), "/"+d.scope+"/") {
		return "of a container: " + strings.TrimSpace(readProc(pid, "comm"))
	}
	return ""
}

// pid is that of `ctr events`, 0 when it does not run.
func (e *events) pid() int {
	if e.cmd == nil {
		return 0
	}
	return e.cmd.Process.Pid
}

// sweep removes by force whatever is left, containerd too. It may be called while
// the test still runs, from any goroutine.
func (d *daemon) sweep() error {
	ctx, cancel := context.WithTimeout(context.Background(), goneAfter)
	defer cancel()
	if err := eventually(ctx, d.sweepOnce); err != nil {
		return fmt.Errorf("sweep %s: %w", d.dir, err)
	}
	return nil
}

func (d *daemon) sweepOnce() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	groups, err := harness.CgroupsIn(d.scope)
	if err != nil {
		return err
	}
	for _, g := range groups {
		harness.Thaw(g)
	}
	alive := 0
	for _, pid := range pids {
		if d.touches(pid) == "" {
			continue
		}
		alive++
		harness.Kill(pid, func(pid int) bool { return d.touches(pid) != "" })
	}
	if alive > 0 {
		return fmt.Errorf("%w: %d processes are about to end", errNotYet, alive)
	}
	if err := harness.RemoveCgroups(append(groups, harness.CgroupsNamed(d.scope)...)); err != nil {
		return err
	}
	for _, s := range d.sockets() {
		os.Remove(s)
	}
	if err := client.UnmountAll(d.dir); err != nil {
		return err
	}
	if err := os.RemoveAll(d.runtimeRoot()); err != nil {
		return err
	}
	return os.RemoveAll(d.dir)
}

// cgroup finds a container's directory in the hierarchy of a controller, which is
// the only one on cgroup v2.
func (d *daemon) cgroup(controller, id string) string {
	d.t.Helper()
	for _, top := range []string{filepath.Join("/sys/fs/cgroup", controller), "/sys/fs/cgroup"} {
		path := filepath.Join(top, d.scope, id)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	d.t.Fatalf("%s has no %s cgroup", id, controller)
	return ""
}
