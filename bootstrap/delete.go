package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/mount"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

const (
	// defaultRuntimeRoot is where the OCI runtime keeps its state when the
	// options name no place; the namespace comes below it.
	defaultRuntimeRoot = "/run/containerd/runc"

	// killedStatus is how a container ended of which nobody knows how.
	killedStatus = 128 + uint32(unix.SIGKILL)

	// runtimeLimit bounds the OCI runtime's part of delete unless the
	// environment says otherwise. containerd gives all of delete 5 s; what comes
	// before and after needs some of them.
	runtimeLimit = 3 * time.Second

	// askLimit bounds the question whether somebody lives behind a socket.
	askLimit = 500 * time.Millisecond
)

// Delete clears away what is left of a container whose shim is dead: its
// processes, what the OCI runtime knows of it, its mounts, sockets in its
// bundle and its dead shim's socket. It answers a DeleteResponse on Stdout.
//
// It does as much as it can, whatever is missing or broken; it may be repeated, and
// it leaves alone what a living shim serves for other containers of the group. What
// it cannot do is a line each on Stderr. The error says that Delete did not
// answer.
//
// The bundle is the one in the flags; else the directory called id beside the
// working directory, which is the working directory itself when containerd
// calls. It may be gone.
func Delete(ctx context.Context, c *Call) error {
	d := deletion{Call: c, dir: bundleOf(c.Flags)}
	d.run(ctx)

	out, err := d.response().Marshal()
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err := put(c.Stdout, out); err != nil {
		return fmt.Errorf("delete: answer: %w", err)
	}
	return nil
}

// bundleOf returns the absolute path of the bundle to delete, or "" when there
// is no telling. It need not exist.
func bundleOf(f Flags) string {
	if f.Bundle != "" {
		dir, err := filepath.Abs(f.Bundle)
		if err != nil {
			return ""
		}
		return dir
	}
	cwd, err := os.Getwd()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(cwd), f.ID)
}

// deletion is one run of Delete.
type deletion struct {
	*Call
	dir string // "" if unknown; may be gone

	initPid int                // what init.pid says; 0 if it says nothing
	exit    *bundle.ExitRecord // nil if nobody wrote down how init ended
}

// complain reports what could not be done, in one line.
func (d *deletion) complain(err error) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	// That nobody listens is no reason to stop.
	_ = put(d.Stderr, []byte("delete "+d.Flags.ID+": "+text+"\n"))
}

// run does the work. The order matters: nothing of the container may run when
// its mounts are taken away, and what it was is read before the OCI runtime
// removes files.
func (d *deletion) run(ctx context.Context) {
	d.remember()
	options := d.options()
	group, cgroupsPath := d.spec()

	if d.dir != "" {
		if err := endRuntimes(d.dir); err != nil {
			d.complain(err)
		}
	}
	err := cgroup.Clear(ctx, d.Flags.ID, d.initPid, cgroupsPath, func(pid int) bool { return bundle.Elsewhere(d.dir, pid) })
	if err != nil {
		d.complain(err)
	}
	if !errors.Is(err, cgroup.ErrOthers) { // whose state the runtime's is then
		if err := d.deleteFromRuntime(ctx, options); err != nil {
			d.complain(err)
		}
	}
	if d.dir != "" {
		if err := mount.UnmountAll(filepath.Join(d.dir, bundle.Rootfs)); err != nil {
			d.complain(err)
		}
		if err := removeSockets(d.dir); err != nil {
			d.complain(err)
		}
		// Of a shim that died while criu worked.
		for _, dir := range []string{d.dir, filepath.Join(d.dir, bundle.WorkLink), filepath.Join(d.dir, bundle.WorkLink, "criu-work")} {
			if err := runc.ScrubWork(dir); err != nil {
				d.complain(err)
			}
		}
	}
	for _, path := range d.shimSockets(group) {
		if err := removeIfDead(path, d.Flags.ID); err != nil {
			d.complain(err)
		}
	}
}

// remember reads what the bundle says about init. That something is not there
// is no news: the shim may have died at any moment.
func (d *deletion) remember() {
	if d.dir == "" {
		return
	}
	pid, err := runc.ReadPidFile(filepath.Join(d.dir, bundle.InitPidFile))
	if err == nil {
		d.initPid = pid
	} else if !absent(err) {
		d.complain(err)
	}
	exit, err := bundle.ReadExitRecord(d.dir)
	if err == nil {
		d.exit = &exit
	} else if !absent(err) {
		d.complain(err)
	}
}

func (d *deletion) response() *task.DeleteResponse {
	if d.exit != nil {
		return &task.DeleteResponse{Pid: uint32(d.exit.Pid), ExitStatus: d.exit.Status, ExitedAt: wkt.Time(d.exit.ExitedAt)}
	}
	return &task.DeleteResponse{Pid: uint32(d.initPid), ExitStatus: killedStatus, ExitedAt: wkt.Now()}
}

// options returns what the container was made with, as far as it is known.
func (d *deletion) options() *runcopts.Options {
	if d.dir == "" {
		return new(runcopts.Options)
	}
	o, err := bundle.ReadOptions(d.dir)
	if err == nil {
		return o
	}
	if !absent(err) {
		d.complain(err)
	}
	// A shim that wrote no options may have written this.
	o = new(runcopts.Options)
	if o.BinaryName, err = bundle.ReadRuntime(d.dir); err != nil && !absent(err) {
		d.complain(err)
	}
	return o
}

// spec returns what the container's spec says about its group, which is the
// container itself if it says nothing, and about its cgroup, "" if it says nothing.
func (d *deletion) spec() (group, cgroupsPath string) {
	group = d.Flags.ID
	if d.dir == "" {
		return group, ""
	}
	config, err := bundle.ReadConfig(d.dir)
	if err != nil {
		if !absent(err) {
			d.complain(err)
		}
		return group, ""
	}
	name, named, err := bundle.Group(config)
	if named {
		group = name
	}
	if err == nil {
		cgroupsPath, err = bundle.CgroupsPath(config)
	}
	if err != nil {
		d.complain(err)
	}
	return group, cgroupsPath
}

// deleteFromRuntime makes the OCI runtime forget the container, killing it if it
// still lives.
func (d *deletion) deleteFromRuntime(ctx context.Context, o *runcopts.Options) error {
	root := o.Root
	if root == "" {
		root = defaultRuntimeRoot
	}
	root = filepath.Join(root, d.Flags.Namespace)
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil // it has never had a container here
	}
	deadlines, err := runc.DeadlinesFromEnv(environ(d.Env).get)
	if err != nil {
		d.complain(err)
	}
	if deadlines.Delete == 0 && deadlines.Default == 0 {
		deadlines.Delete = runtimeLimit
	}
	if d.dir != "" {
		// A runtime that cannot write its log does nothing else either.
		log := filepath.Join(d.dir, bundle.RuntimeLog)
		if st, err := os.Lstat(log); err == nil && !st.Mode().IsRegular() {
			if err := os.RemoveAll(log); err != nil {
				d.complain(err)
			}
		}
	}
	r, err := reaper.New()
	if err != nil {
		return err
	}
	defer r.Close()
	rt := &runc.Runtime{
		Binary:        o.BinaryName,
		Root:          root,
		Bundle:        d.dir,
		ID:            d.Flags.ID,
		SystemdCgroup: o.SystemdCgroup,
		Deadlines:     deadlines,
		Reaper:        r,
	}
	if err := rt.Delete(ctx, true); err != nil && !errors.Is(err, runc.ErrNotFound) {
		return err
	}
	return rt.Scrub()
}

// removeSockets removes the sockets that lie in the bundle: those that the OCI
// runtime was to send ptys over.
func removeSockets(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			err = errors.Join(err, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// shimSockets returns where the dead shim may have listened: where the bundle
// says, if that looks like the path of a shim's socket, and where the shim of
// this container's group has it by default.
func (d *deletion) shimSockets(group string) []string {
	var paths []string
	if d.dir != "" {
		address, err := bundle.ReadAddress(d.dir)
		if err != nil && !absent(err) {
			d.complain(err)
		}
		if path, ok := strings.CutPrefix(address, "unix://"); ok && isShimSocket(path) {
			paths = append(paths, path)
		}
	}
	path, err := socketPath(d.SocketDir, d.Flags.Address, d.Flags.Namespace, group)
	if err == nil && (len(paths) == 0 || paths[0] != path) {
		paths = append(paths, path)
	}
	return paths
}

// isShimSocket reports whether path could have been made by socketPath: a file
// with anything in it must not make us remove just any socket.
func isShimSocket(path string) bool {
	const digits = "0123456789abcdef"
	name := filepath.Base(path)
	return filepath.IsAbs(path) && path == filepath.Clean(path) && len(path) <= maxSocketPath &&
		len(name) == 64 && strings.Trim(name, digits) == ""
}

// removeIfDead removes a socket that nobody lives behind. What was killed a moment
// ago may still listen, until the kernel has closed its files, and so may a shim
// that its killed `start` has left half made: it is asked whether it lives.
func removeIfDead(path, id string) error {
	deadline := time.Now().Add(askLimit)
	for {
		conn, err := connectOrRemove(path)
		if conn == nil {
			return err
		}
		_, err = ask(conn, 3, id, deadline)
		if !errors.Is(err, errLost) || time.Now().After(deadline) {
			return nil // it lives, or is somebody else's to judge
		}
		time.Sleep(time.Millisecond)
	}
}

// connectOrRemove connects to a socket, or removes it if nobody listens on it; it
// returns neither a connection nor an error then.
func connectOrRemove(path string) (*os.File, error) {
	lock, err := lockDir(filepath.Dir(path), time.Second)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer lock.release()
	conn, err := connect(path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, unix.ECONNREFUSED):
		return nil, removeDead(path)
	}
	return nil, nil
}

// absent reports whether err says that a file, or the bundle, is not there.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}
