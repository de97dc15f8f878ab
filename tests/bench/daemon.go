package main

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
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// patience is how long one step may take that is sure to end.
const patience = 60 * time.Second

// daemon is one shim's daemon. Each shim has its own, with its own directory,
// namespace and socket for events.
type daemon struct {
	*client.Launcher
	events *client.Events
	shim   *shim
	dir    string // what lives no longer than the machine is up
	disk   string // layers
	rootfs string // busybox; shared by all, written by none

	runtime string // of containers, by its path; "" is the shim's default

	mu    sync.Mutex            // guards what is below
	count int                   // of ids
	live  map[string]*container // those whose story has not ended, by id
}

// newDaemon makes a directory of which the last part is the namespace too, and
// one on the disk. close removes both.
func newDaemon(s *shim, disk, rootfs string) (*daemon, error) {
	dir, err := os.MkdirTemp(runDir, "hfbench") // short: sockets are in it
	if err != nil {
		return nil, err
	}
	events, err := client.ListenEvents(filepath.Join(dir, "events.sock"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &daemon{
		Launcher: &client.Launcher{
			Dialect:       s.dialect,
			Shim:          s.Path,
			Namespace:     filepath.Base(dir),
			Address:       filepath.Join(dir, "containerd.sock"),
			EventsAddress: events.Path(),
			SocketDir:     filepath.Join(dir, "s"),
			State:         filepath.Join(dir, "state"),
			Root:          filepath.Join(disk, "root"),
			Fifos:         filepath.Join(dir, "fifo"),
			Version:       "2.3.0-bench",
		},
		events: events,
		shim:   s,
		dir:    dir,
		disk:   disk,
		rootfs: rootfs,
		live:   make(map[string]*container),
	}, nil
}

// runtimeRoot is where the runtime keeps the state of this namespace.
func (d *daemon) runtimeRoot() string { return filepath.Join(runDir, "runc", d.Namespace) }

// overlay is a root filesystem for a container: busybox below, and a layer of
// its own.
func (d *daemon) overlay(id string) (*types.Mount, error) {
	upper := filepath.Join(d.disk, "layers", id, "upper")
	work := filepath.Join(d.disk, "layers", id, "work")
	for _, dir := range []string{upper, work} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	return &types.Mount{Type: "overlay", Source: "overlay", Options: []string{
		"lowerdir=" + d.rootfs, "upperdir=" + upper, "workdir=" + work,
	}}, nil
}

func (d *daemon) nextID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	return fmt.Sprintf("c%d", d.count)
}

func (d *daemon) begins(c *container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[c.id] = c
}

func (d *daemon) ends(c *container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.live, c.id)
}

// exited waits for the exit event of a process and returns it.
func (d *daemon) exited(ctx context.Context, id, execID string) (client.Event, error) {
	return d.events.Wait(ctx, func(e client.Event) bool {
		return e.Topic == client.TopicExit && e.ContainerID == id && e.ExecID == execID
	})
}

// forgetEvents starts with an empty list, so that waiting does not take longer
// the more there was before. No shim may live.
func (d *daemon) forgetEvents() error {
	if err := d.events.Stop(); err != nil {
		return err
	}
	var err error
	d.events, err = client.ListenEvents(d.EventsAddress)
	return err
}

// processes are those whose command line names the daemon's directory, as that
// of each of its shims does.
func (d *daemon) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// One that is gone by now has no command line.
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if bytes.Contains(line, []byte(d.dir+"/")) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// killAll kills shims that nobody has hold of, such as one whose answer to
// `start` was not understood.
func (d *daemon) killAll() error {
	pids, err := d.processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		h, err := client.HoldPid(pid)
		if err != nil {
			continue // gone
		}
		// Held now, it is still the one that was meant if it is still listed.
		again, err := d.processes()
		if err == nil && slices.Contains(again, pid) {
			err = h.Signal(unix.SIGKILL)
		}
		if err := errors.Join(err, h.Close()); err != nil {
			return err
		}
	}
	return nil
}

// removeSockets removes the sockets of killed shims, of which those that chose
// the directory themselves are named by the bundle's file `address`.
func (d *daemon) removeSockets() error {
	var errs []error
	files, _ := filepath.Glob(filepath.Join(d.State, d.Namespace, "*", "address")) // the pattern is well-formed
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		path := strings.TrimPrefix(strings.TrimSpace(string(text)), "unix://")
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// close ends what still lives and removes all there is of the daemon.
func (d *daemon) close() error {
	errs := []error{d.killAll(), d.removeSockets()}
	for _, c := range slices.Collect(maps.Values(d.live)) {
		errs = append(errs, c.abandon())
	}
	errs = append(errs, d.events.Stop(), client.UnmountAll(d.dir))
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + d.Namespace) // the pattern is well-formed
	for _, g := range append(groups, "/sys/fs/cgroup/"+d.Namespace) {
		errs = append(errs, removeGroup(g))
	}
	errs = append(errs, os.RemoveAll(d.runtimeRoot()), os.RemoveAll(d.dir), os.RemoveAll(d.disk))
	return errors.Join(errs...)
}

// removeGroup removes a cgroup and the empty ones in it. One that is not there
// is no error.
func removeGroup(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, removeGroup(filepath.Join(path, e.Name())))
		}
	}
	if err := unix.Rmdir(path); err != nil {
		errs = append(errs, fmt.Errorf("remove cgroup %s: %w", path, err))
	}
	return errors.Join(errs...)
}
