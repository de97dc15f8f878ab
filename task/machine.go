package task

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/runc"
)

// machine is what the containers live on and what may be slow, stuck or early
// there: the OCI runtime, the children, the cgroups. It is the node's, and in
// the scenarios one in which every step happens when the story says so.
type machine interface {
	runtime(id, bundle string, o *runcopts.Options) ociRuntime
	children() process.Children
	// group is the cgroup of a process; nil with an error.
	group(pid int) (group, error)
	// watchOOM is [cgroup.OOMWatcher.Watch].
	watchOOM(g group, wake func()) (oomWatch, error)
	// clearGroup is [cgroup.Clear] of a container that was not made to the end.
	clearGroup(ctx context.Context, id, bundle, cgroupsPath string) error
}

// ociRuntime is the OCI runtime on one container: [runc.Runtime].
type ociRuntime interface {
	process.Runtime
	Start(context.Context) error
	Kill(ctx context.Context, signal int, all bool) error
	Pause(context.Context) error
	Resume(context.Context) error
	Update(ctx context.Context, resources []byte) error
	Checkpoint(context.Context, runc.CheckpointOpts) error
	Scrub() error
}

// group is a container's cgroup: [cgroup.Group].
type group interface {
	Kill() error
	BecomesFrozen(want bool) (bool, error)
	Signal(sig unix.Signal, except int) error
	Thaw() error
	Remove(context.Context) error
	Pids() ([]int, error)
	Stats() (proto.Message, error)
}

// oomWatch is [cgroup.OOMWatch].
type oomWatch interface {
	Killed() bool
	Close()
}

// defaultRoot is where the runtime's state lies if the options say nothing;
// the namespace is a directory below it.
const defaultRoot = "/run/containerd/runc"

// node is the real machine.
type node struct {
	config *Config
	ooms   cgroup.OOMWatcher // of all containers
}

func (n *node) runtime(id, bundle string, o *runcopts.Options) ociRuntime {
	root := o.Root
	if root == "" {
		root = defaultRoot
	}
	return &runc.Runtime{
		Binary:        o.BinaryName,
		Root:          filepath.Join(root, n.config.Namespace),
		Bundle:        bundle,
		ID:            id,
		SystemdCgroup: o.SystemdCgroup,
		Deadlines:     n.config.Deadlines,
		Reaper:        n.config.Reaper,
	}
}

func (n *node) children() process.Children { return process.Reaped(n.config.Reaper) }

func (n *node) group(pid int) (group, error) {
	g, err := cgroup.Of(pid)
	if err != nil {
		return nil, err
	}
	return g, nil
}

func (n *node) watchOOM(g group, wake func()) (oomWatch, error) {
	o, err := n.ooms.Watch(g.(*cgroup.Group), wake)
	if err != nil || o == nil {
		return nil, err
	}
	return o, nil
}

func (n *node) clearGroup(ctx context.Context, id, dir, cgroupsPath string) error {
	return cgroup.Clear(ctx, id, 0, cgroupsPath, func(pid int) bool { return bundle.Elsewhere(dir, pid) })
}
