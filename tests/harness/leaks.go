package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
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

// CheckLog fails the test if what shims have logged says that one died of a panic or
// had a data race.
func CheckLog(t testing.TB, log string) {
	t.Helper()
	lines := strings.Split(log, "\n")
	for _, sign := range []string{"panic:", "fatal error:", "WARNING: DATA RACE"} {
		at := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, sign) })
		if at >= 0 {
			// The whole log comes too, but what reports a failure may shorten it.
			around := lines[max(at-1, 0):min(at+12, len(lines))]
			t.Errorf("the log holds %q:\n%s", sign, strings.Join(around, "\n"))
		}
	}
}

// CheckLeaks fails the test if leaks still lists something after that time: what a
// test ended may take a moment to be gone.
func CheckLeaks(t testing.TB, within time.Duration, leaks func() ([]string, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var left []string
	err := eventually(ctx, func() error {
		var err error
		if left, err = leaks(); err != nil {
			return err
		}
		if len(left) > 0 {
			return errNotYet
		}
		return nil
	})
	for _, l := range left {
		t.Errorf("left behind: %s", l)
	}
	if err != nil && !errors.Is(err, errNotYet) {
		t.Error(err)
	}
}

// Leaks lists what is there of this daemon's: processes, sockets, mounts,
// cgroups, the runtime's state, bundles and fifos.
func (d *Daemon) Leaks() ([]string, error) {
	var left []string
	for _, pid := range d.processes() {
		left = append(left, fmt.Sprintf("process %d: %s", pid, Cmdline(pid)))
	}
	rest, err := Places{
		Sockets: d.socketPaths(),
		Mounts:  d.Dir,
		Cgroups: d.Namespace,
		Dirs: []string{
			d.runtimeRoot(),
			filepath.Join(d.State, d.Namespace),
			filepath.Join(d.Root, d.Namespace),
			d.Fifos,
		},
	}.Left()
	if err != nil {
		return nil, err
	}
	return append(left, rest...), nil
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

// socketPaths are those of the sockets that shims may have made, and whatever is in
// the daemon's own directory of sockets.
func (d *Daemon) socketPaths() []string {
	d.mu.Lock()
	paths := maps.Clone(d.sockets)
	d.mu.Unlock()
	own := filepath.Join(d.Dir, "s")
	for _, name := range Names(own) {
		paths[filepath.Join(own, name)] = true
	}
	return slices.Sorted(maps.Keys(paths))
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
	groups, err := CgroupsIn(d.Namespace)
	if err != nil {
		return err
	}
	if err := Sweep(d.Dir+"/", append(groups, CgroupsNamed(d.Namespace)...)); err != nil {
		return err
	}
	for _, s := range d.socketPaths() {
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
		Kill(pid, func(pid int) bool { return strings.Contains(Cmdline(pid), text) })
	}
	for _, g := range groups {
		killGroup(g)
	}
	return RemoveCgroups(groups)
}

// Kill kills a process if, once it is held and cannot become another, it is still
// the one meant.
func Kill(pid int, still func(int) bool) {
	h, err := client.HoldPid(pid)
	if err != nil {
		return
	}
	defer h.Close()
	if still(pid) {
		h.Signal(unix.SIGKILL)
	}
}
