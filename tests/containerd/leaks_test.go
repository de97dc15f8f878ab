package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
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

// sockets are those files of this daemon's shims that are there. Containerd 1.6
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
	var there []string
	for group := range groups {
		sum := sha256.Sum256([]byte(filepath.Join(d.socket(), d.namespace, group)))
		path := filepath.Join("/run/containerd/s", hex.EncodeToString(sum[:]))
		if _, err := os.Lstat(path); err == nil {
			there = append(there, path)
		}
	}
	slices.Sort(there)
	return there
}

// checkLeaks fails the test when something of the daemon's containers is still
// there.
func (d *daemon) checkLeaks() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), goneAfter)
	defer cancel()
	var left []string
	err := eventually(ctx, func() error {
		var err error
		if left, err = d.leaks(); err != nil {
			return err
		}
		if len(left) > 0 {
			return errNotYet
		}
		return nil
	})
	for _, l := range left {
		d.t.Errorf("left behind: %s", l)
	}
	if err != nil && !errors.Is(err, errNotYet) {
		d.t.Error(err)
	}
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
	for _, s := range d.sockets() {
		left = append(left, "socket "+s)
	}
	mounts, err := client.MountsUnder(d.dir)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		left = append(left, "mount on "+m)
	}
	groups, err := d.cgroups()
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		left = append(left, "cgroup "+g)
	}
	dirs := []string{
		d.runtimeRoot(),
		d.bundle(""),
		filepath.Join(d.dir, "root", "io.containerd.runtime.v2.task", d.namespace),
	}
	switch d.user {
	case kubernetes:
		dirs = append(dirs, d.dirsCRI()...)
	case docker:
		dirs = append(dirs, d.dirsDocker()...)
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			left = append(left, filepath.Join(dir, e.Name()))
		}
	}
	return left, nil
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
	if err == nil && state == 'Z' && d.cmd != nil && ppid == d.pid() {
		return "a zombie of containerd's: " + strings.TrimSpace(readProc(pid, "comm"))
	}
	return ""
}

// touches is owns without exceptions and without zombies that only their parents
// know.
func (d *daemon) touches(pid int) string {
	if line := strings.ReplaceAll(readProc(pid, "cmdline"), "\x00", " "); strings.Contains(line, d.dir+"/") {
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

// cgroups are the directories of the daemon's namespace in every hierarchy; the
// namespace's own, which the runtime leaves behind, is not one of them.
func (d *daemon) cgroups() ([]string, error) {
	var groups []string
	for _, top := range d.cgroupTops() {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && e.IsDir() && path != top {
				groups = append(groups, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return groups, nil
}

func (d *daemon) cgroupTops() []string {
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + d.scope)
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.scope)
	return append(v2, v1...)
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
	groups, err := d.cgroups()
	if err != nil {
		return err
	}
	for _, g := range groups {
		// On cgroup v1 a frozen process does not die.
		os.WriteFile(filepath.Join(g, "freezer.state"), []byte("THAWED"), 0)
		os.WriteFile(filepath.Join(g, "cgroup.freeze"), []byte("0"), 0)
	}
	alive := 0
	for _, pid := range pids {
		if d.touches(pid) == "" {
			continue
		}
		alive++
		if h, err := client.HoldPid(pid); err == nil {
			// Once it is held it cannot become another.
			if d.touches(pid) != "" {
				h.Signal(unix.SIGKILL)
			}
			h.Close()
		}
	}
	if alive > 0 {
		return fmt.Errorf("%w: %d processes are about to end", errNotYet, alive)
	}
	// The deepest first: a cgroup with another in it cannot be removed.
	slices.Sort(groups)
	slices.Reverse(groups)
	for _, g := range append(groups, d.cgroupTops()...) {
		if err := unix.Rmdir(g); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", g, err)
		}
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
