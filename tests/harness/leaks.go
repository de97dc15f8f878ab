package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

// goneAfter is how long what a test ended may take to be gone: a shim ends after
// its answer to Shutdown.
var goneAfter = max(10*time.Second, Patience/6)

func newTicker() *time.Ticker { return time.NewTicker(10 * time.Millisecond) }

// checkEnded fails the test when it forgot a container: that is the test's
// mistake, not the shim's, so it is told apart from leaks.
func (d *Daemon) checkEnded() {
	d.t.Helper()
	for _, c := range d.all() {
		if !c.ended() {
			d.t.Errorf("the test ended without Delete of %s", c.ContainerID)
		}
	}
}

// checkLog fails the test when a shim died of a panic or had a data race.
func (d *Daemon) checkLog() {
	d.t.Helper()
	log := d.ShimLog.String()
	for _, sign := range []string{"panic:", "fatal error:", "WARNING: DATA RACE"} {
		if strings.Contains(log, sign) {
			d.t.Errorf("a shim's log holds %q", sign)
		}
	}
}

// checkLeaks fails the test when something of the daemon's is still there.
func (d *Daemon) checkLeaks() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), goneAfter)
	defer cancel()
	var left []string
	err := eventually(ctx, func() error {
		var err error
		if left, err = d.Leaks(); err != nil {
			return err
		}
		if len(left) > 0 {
			return errNotYet
		}
		return nil
	})
	switch {
	case len(left) > 0:
		for _, l := range left {
			d.t.Errorf("left behind: %s", l)
		}
	case err != nil:
		d.t.Error(err)
	}
}

// Leaks lists what is there of this daemon's: processes, sockets, mounts,
// cgroups, the runtime's state, bundles and fifos.
func (d *Daemon) Leaks() ([]string, error) {
	var left []string
	for _, pid := range d.processes() {
		left = append(left, fmt.Sprintf("process %d: %s", pid, Cmdline(pid)))
	}
	for _, s := range d.socketFiles() {
		left = append(left, "socket "+s)
	}
	mounts, err := client.MountsUnder(d.Dir)
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
	for _, dir := range []string{
		d.runtimeRoot(),
		filepath.Join(d.State, d.Namespace),
		filepath.Join(d.Root, d.Namespace),
		d.Fifos,
	} {
		for _, name := range Names(dir) {
			left = append(left, filepath.Join(dir, name))
		}
	}
	return left, nil
}

// runtimeRoot is where the runtime keeps this namespace's containers, unless
// their options say otherwise.
func (d *Daemon) runtimeRoot() string {
	return filepath.Join("/run/containerd/runc", d.Namespace)
}

// processes are those whose command line names the daemon's directory: shims by
// the daemon's address, runtimes by their log's path, stubs by theirs. Processes
// of containers have cgroups to be found by.
func (d *Daemon) processes() []int { return Processes(d.Dir + "/") }

// Processes are those whose command line holds text, without the caller itself.
func Processes(text string) []int {
	var pids []int
	for _, name := range Names("/proc") {
		pid, err := strconv.Atoi(name)
		if err == nil && pid != os.Getpid() && strings.Contains(Cmdline(pid), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Cmdline is a process's arguments with spaces between them. It is empty for one
// that is gone, and for a zombie, which is its parent's to reap: an orphan's is
// process 1, in its own time.
func Cmdline(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
}

// socketFiles are those of the sockets that shims may have made, and whatever
// is in the daemon's own directory of sockets.
func (d *Daemon) socketFiles() []string {
	d.mu.Lock()
	paths := make(map[string]bool)
	maps.Copy(paths, d.sockets)
	d.mu.Unlock()
	own := filepath.Join(d.Dir, "s")
	for _, name := range Names(own) {
		paths[filepath.Join(own, name)] = true
	}
	var there []string
	for p := range paths {
		if _, err := os.Lstat(p); err == nil {
			there = append(there, p)
		}
	}
	slices.Sort(there)
	return there
}

// cgroups are the directories of the daemon's namespace in every hierarchy; the
// namespace's own, which the runtime leaves behind, is not one of them.
func (d *Daemon) cgroups() ([]string, error) {
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

func (d *Daemon) cgroupTops() []string {
	v2, _ := filepath.Glob("/sys/fs/cgroup/" + d.Namespace)
	v1, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.Namespace)
	return append(v2, v1...)
}

// Names lists a directory; one that is not there is empty.
func Names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// sweep removes by force whatever is left. What it cannot remove it tells.
func (d *Daemon) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), goneAfter)
	defer cancel()
	err := eventually(ctx, d.sweepOnce)
	if err != nil {
		d.t.Errorf("sweep: %v", err)
	}
}

func (d *Daemon) sweepOnce() error {
	for _, c := range d.all() {
		if !c.ended() {
			c.Shim.Close()
			if c.IO != nil {
				c.IO.Close()
			}
		}
	}
	groups, err := d.cgroups()
	if err != nil {
		return err
	}
	if err := Sweep(d.Dir+"/", append(groups, d.cgroupTops()...)); err != nil {
		return err
	}
	for _, s := range d.socketFiles() {
		os.Remove(s)
	}
	if err := client.UnmountAll(d.Dir); err != nil {
		return err
	}
	if err := os.RemoveAll(d.runtimeRoot()); err != nil {
		return err
	}
	return os.RemoveAll(d.Dir)
}

// Sweep kills the processes whose command line holds text, and what is in the
// cgroups, and removes those; what is dying may need another try.
func Sweep(text string, groups []string) error {
	for _, pid := range Processes(text) {
		kill(pid, func(pid int) bool { return strings.Contains(Cmdline(pid), text) })
	}
	// The deepest first: a cgroup with another in it cannot be removed.
	slices.Sort(groups)
	slices.Reverse(groups)
	for _, g := range groups {
		killGroup(g)
	}
	for _, g := range groups {
		if err := unix.Rmdir(g); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove cgroup %s: %w", g, err)
		}
	}
	return nil
}

// kill kills a process if, once it is held, it is still the one meant.
func kill(pid int, still func(int) bool) {
	h, err := client.HoldPid(pid)
	if err != nil {
		return
	}
	defer h.Close()
	if still(pid) {
		h.Signal(unix.SIGKILL)
	}
}

// killGroup kills what is in one cgroup, thawing it first: a frozen process does
// not die on v1.
func killGroup(group string) {
	os.WriteFile(filepath.Join(group, "freezer.state"), []byte("THAWED"), 0)
	os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("0"), 0)
	b, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
	if err != nil {
		return
	}
	// Tests' cgroups have names that nobody else's have.
	name := []byte("/" + filepath.Base(group))
	for field := range strings.FieldsSeq(string(b)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		kill(pid, func(pid int) bool {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			return err == nil && bytes.Contains(b, name)
		})
	}
}
