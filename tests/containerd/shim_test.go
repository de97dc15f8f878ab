package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

// shimOf finds the shim that holds a running container, by being the parent of
// the container's init, and fails the test unless it runs the binary under test.
func (d *daemon) shimOf(id string) int {
	d.t.Helper()
	return d.shimAt(id, d.shim)
}

// shimAt is shimOf for a shim that has another binary.
func (d *daemon) shimAt(id, binary string) int {
	d.t.Helper()
	task, ok := d.task(id)
	if !ok {
		d.t.Fatalf("no task %s", id)
	}
	pid, err := parent(task.pid)
	if err != nil {
		d.t.Fatalf("the shim of %s: %v", id, err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	// An upgrade takes the file away from under a shim that runs.
	if err != nil || strings.TrimSuffix(exe, " (deleted)") != binary {
		d.t.Fatalf("the shim of %s, process %d, runs %q (%v), not %s", id, pid, exe, err, binary)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.proved = d.proved || binary == d.shim
	return pid
}

// checkProof fails a test that never saw that a shim runs the binary under test.
func (d *daemon) checkProof() {
	d.t.Helper()
	d.mu.Lock()
	proved := d.proved
	d.mu.Unlock()
	if !proved {
		d.t.Error("no shim of this test was proved to run the binary under test")
	}
}

// parent reads a process's parent. The third field is in parentheses and may hold
// anything: proc_pid_stat(5).
func parent(pid int) (int, error) {
	_, ppid, err := stat(pid)
	return ppid, err
}

func stat(pid int) (state byte, ppid int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	text := string(b)
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 2 || len(f[0]) != 1 {
		return 0, 0, fmt.Errorf("/proc/%d/stat: %q", pid, text)
	}
	ppid, err = strconv.Atoi(f[1])
	return f[0][0], ppid, err
}

// hold takes hold of a process until the test ends.
func (d *daemon) hold(pid int) *client.Hold {
	d.t.Helper()
	h, err := client.HoldPid(pid)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { h.Close() })
	return h
}

// ended waits until a process has ended.
func (d *daemon) ended(what string, h *client.Hold) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

// alive tells whether a process has not ended yet.
func alive(h *client.Hold) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return h.Wait(ctx) != nil
}

// killShim kills the shim of a running container and waits until it is gone.
// What it held is then lost, for each of those containers.
func (d *daemon) killShim(holds ...string) {
	d.t.Helper()
	h := d.hold(d.shimOf(holds[0]))
	for _, id := range holds {
		d.events.lost(id)
	}
	if err := h.Signal(syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	d.ended("the shim of "+holds[0], h)
}

// processes lists every process there is.
func processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// readProc reads a file of a process; it is empty when the process is gone.
func readProc(pid int, name string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return ""
	}
	return string(b)
}
