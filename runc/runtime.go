package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/holdfast-shim/holdfast/reaper"
	"golang.org/x/sys/unix"
)

// Runtime runs an OCI runtime's verbs on one container. Its fields are set
// before the first call and not changed after it. Any number of calls may be
// under way, but of create, start, delete, pause, resume, update, checkpoint
// and restore only one at a time. It must not be copied.
type Runtime struct {
	Binary        string // a name to look up in PATH, or a path; "": DefaultBinary
	Root          string // where the runtime keeps its state, with the namespace; "": its own default
	Bundle        string // absolute; every call runs in it, and if it is gone, in /
	ID            string // the container's
	SystemdCgroup bool   // cgroups are made by systemd
	Deadlines     Deadlines
	Reaper        *reaper.Reaper

	found atomic.Pointer[program]
}

// IO is what the runtime gives the container's process as its stdio. The files
// stay the caller's, who may close its copies of the container's ends when the
// call has returned; a nil one is /dev/null.
type IO struct {
	Stdin, Stdout, Stderr *os.File

	// Unread takes what was written to Stdout and Stderr and read by nobody. A
	// runtime that fails without a word in its log (one whose libraries are
	// missing) may have said there why. May be nil.
	Unread func() []byte

	// ConsoleSocket is the path of a unix socket that the runtime sends a
	// pty's master to. The files are nil then. It may be relative to the
	// bundle: a socket's path has at most 107 bytes.
	ConsoleSocket string
}

// apply gives c the stdio. With a console nothing of ours becomes the
// container's, so what the runtime itself prints can be read.
func (o *IO) apply(c *call) {
	c.files = [3]*os.File{o.Stdin, o.Stdout, o.Stderr}
	c.unread = o.Unread
	if o.ConsoleSocket != "" {
		c.args = append(c.args, "--console-socket", o.ConsoleSocket)
		c.printed = c.files == [3]*os.File{}
	}
}

// CreateOpts is how a container is created.
type CreateOpts struct {
	IO
	PidFile      string // absolute; see ReadPidFile
	NoPivot      bool   // rootfs on a ramdisk, where pivot_root(2) does not work
	NoNewKeyring bool
}

// Create makes the container and its init, which waits for Start. The caller
// holds a reaper.Claim from before the call until it has adopted the pid in
// PidFile. A failure can leave parts of the container behind: Delete with
// force removes them.
func (r *Runtime) Create(ctx context.Context, o CreateOpts) error {
	c := &call{verb: verbCreate, args: []string{"--bundle", r.Bundle}, last: []string{r.ID}}
	c.writesPid(o.PidFile)
	o.IO.apply(c)
	if o.NoPivot {
		c.args = append(c.args, "--no-pivot")
	}
	if o.NoNewKeyring {
		c.args = append(c.args, "--no-new-keyring")
	}
	_, err := r.run(ctx, c)
	return err
}

// Start lets init run its program.
func (r *Runtime) Start(ctx context.Context) error {
	c := &call{verb: verbStart}
	err := r.simple(ctx, c)
	if err == nil && r.has("exec.fifo") { // init waits on it, with runc and with crun
		return r.fail(c, 0, ErrNotDone.Error()+": the container waits for its start", ErrNotDone)
	}
	return err
}

// ExecOpts is how a process is added to a container.
type ExecOpts struct {
	IO
	ProcessFile string // absolute path of the OCI process, JSON
	PidFile     string // absolute; see ReadPidFile
}

// Exec starts another process in the container and returns when it runs its
// program. The caller holds a reaper.Claim as in Create.
func (r *Runtime) Exec(ctx context.Context, o ExecOpts) error {
	c := &call{verb: verbExec, args: []string{"--process", o.ProcessFile, "--detach"}, last: []string{r.ID}}
	c.writesPid(o.PidFile)
	o.IO.apply(c)
	_, err := r.run(ctx, c)
	return err
}

// Kill sends a signal to the container's init, or with all to every process of
// the container. runc from 1.2 on takes all for no more than leave to find the
// container stopped; there only SIGKILL reaches every process of a container
// that has no pid namespace of its own.
func (r *Runtime) Kill(ctx context.Context, signal int, all bool) error {
	c := &call{verb: verbKill, printed: true, last: []string{r.ID, strconv.Itoa(signal)}}
	if all {
		c.args = []string{"--all"}
	}
	_, err := r.run(ctx, c)
	return err
}

// Delete removes a stopped container from the runtime; with force one in any
// state, after killing it, and then it is no error if there is none. It works
// without a bundle. What a run of the runtime that was killed has left goes too.
func (r *Runtime) Delete(ctx context.Context, force bool) error {
	remove := func() error {
		c := &call{verb: verbDelete}
		if force {
			c.args = []string{"--force"}
			if err := r.unmountRestored(); err != nil {
				return r.fail(c, 0, err.Error(), err)
			}
		}
		err := r.simple(ctx, c)
		if err == nil && (r.has(stateOfRunc) || r.has(stateOfCrun)) {
			return r.fail(c, 0, ErrNotDone.Error()+": it knows the container", ErrNotDone)
		}
		return err
	}
	err := remove()
	if err != nil && !errors.Is(err, ErrNotFound) {
		if was, undo := r.unmount(); undo != nil {
			return fmt.Errorf("%w (and: %w)", err, undo)
		} else if was {
			err = remove()
		}
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if undo := r.Scrub(); undo != nil {
		return errors.Join(err, undo)
	}
	return err
}

// The files in which runtimes keep what they know of a container.
const (
	stateOfRunc = "state.json"
	stateOfCrun = "status"
)

// has reports whether the runtime's directory of the container has that file.
func (r *Runtime) has(name string) bool {
	dir := r.dir()
	return dir != "" && unix.Access(dir+"/"+name, unix.F_OK) == nil
}

// State is what the runtime knows of a container.
type State struct {
	ID     string `json:"id"`
	Status string `json:"status"` // creating, created, running, stopped or paused
	Pid    int    `json:"pid"`    // of init; 0 when stopped
	Bundle string `json:"bundle"`
}

// State asks the runtime for the container's state.
func (r *Runtime) State(ctx context.Context) (*State, error) {
	c := &call{verb: verbState, answer: true, last: []string{r.ID}}
	answer, err := r.run(ctx, c)
	if err != nil {
		return nil, err
	}
	s := new(State)
	if err := json.Unmarshal(answer, s); err != nil {
		return nil, r.fail(c, 0, fmt.Sprintf("its answer is no state: %v: %q", err, firstLine(answer)), err)
	}
	return s, nil
}

// Pause freezes the container.
func (r *Runtime) Pause(ctx context.Context) error {
	return r.simple(ctx, &call{verb: verbPause})
}

// Resume thaws the container.
func (r *Runtime) Resume(ctx context.Context) error {
	return r.simple(ctx, &call{verb: verbResume})
}

// Update changes the container's limits to those in resources, which is an
// OCI LinuxResources in JSON.
func (r *Runtime) Update(ctx context.Context, resources []byte) error {
	c := &call{verb: verbUpdate, args: []string{"--resources", "-"}}
	// A file, not a pipe: a runtime that does not read must not stop us.
	stdin, err := memFile("resources", resources)
	if err != nil {
		return r.fail(c, 0, err.Error(), err)
	}
	defer stdin.Close()
	c.files[0] = stdin
	return r.simple(ctx, c)
}

// CheckpointOpts are the options of containerd.runc.v1.CheckpointOptions. Those
// that a restore needs again are kept with the image: see MakeImage.
type CheckpointOpts struct {
	ImagePath           string   `json:"-"` // directory that receives the image
	WorkPath            string   `json:"-"` // criu's directory for logs; "": ImagePath
	ParentPath          string   `json:"-"` // of an image to build on, relative to ImagePath
	LeaveRunning        bool     `json:"-"` // the opposite of the message's exit
	OpenTCP             bool     `json:"open_tcp,omitempty"`
	ExternalUnixSockets bool     `json:"external_unix_sockets,omitempty"`
	Terminal            bool     `json:"terminal,omitempty"`
	FileLocks           bool     `json:"file_locks,omitempty"`
	EmptyNamespaces     []string `json:"empty_namespaces,omitempty"`
	CgroupsMode         string   `json:"cgroups_mode,omitempty"` // soft, full, strict or ignore; "": the runtime's default
}

// args are the flags that checkpoint and restore share.
func (o *CheckpointOpts) args() []string {
	var args []string
	option := func(flag, value string) {
		if value != "" {
			args = append(args, flag, value)
		}
	}
	enable := func(flag string, on bool) {
		if on {
			args = append(args, flag)
		}
	}
	option("--image-path", o.ImagePath)
	option("--work-path", o.WorkPath)
	enable("--tcp-established", o.OpenTCP)
	enable("--ext-unix-sk", o.ExternalUnixSockets)
	enable("--shell-job", o.Terminal)
	enable("--file-locks", o.FileLocks)
	option("--manage-cgroups-mode", o.CgroupsMode)
	for _, ns := range o.EmptyNamespaces {
		option("--empty-ns", ns)
	}
	return args
}

// Checkpoint writes the container's processes to ImagePath, and ends them
// unless LeaveRunning is set: the runtime then knows the container no more. A
// failure says what criu logged, and where.
func (r *Runtime) Checkpoint(ctx context.Context, o CheckpointOpts) error {
	args := o.args()
	if o.ParentPath != "" {
		args = append(args, "--parent-path", o.ParentPath)
	}
	if o.LeaveRunning {
		args = append(args, "--leave-running")
	}
	c := &call{verb: verbCheckpoint, args: args}
	log := o.log(dumpLog)
	err := log.explain(r.simple(ctx, c))
	if err == nil && unix.Access(filepath.Join(o.ImagePath, inventory), unix.F_OK) != nil {
		return r.fail(c, 0, ErrNotDone.Error()+": there is no image", ErrNotDone)
	}
	return err
}

// RestoreOpts is how a container is made from a checkpoint. Of CheckpointOpts,
// LeaveRunning and ParentPath mean nothing here: an image names its parent
// itself, and runtimes refuse the flag.
type RestoreOpts struct {
	CheckpointOpts
	IO
	PidFile string // absolute; see ReadPidFile
	NoPivot bool
}

// Restore makes the container from the image in ImagePath and returns when it
// runs. The caller holds a reaper.Claim as in Create, and a failure can leave
// parts as there; it says what criu logged, and where.
//
// There is no --no-subreaper, which crun does not know: a runtime that was a
// subreaper leaves its children to us when it ends like one that was not.
func (r *Runtime) Restore(ctx context.Context, o RestoreOpts) error {
	c := &call{verb: verbRestore, args: o.CheckpointOpts.args(), last: []string{r.ID}}
	c.args = append(c.args, "--detach", "--bundle", r.Bundle)
	c.writesPid(o.PidFile)
	o.IO.apply(c)
	if o.NoPivot {
		c.args = append(c.args, "--no-pivot")
	}
	log := o.log(restoreLog)
	_, err := r.run(ctx, c)
	return log.explain(err)
}

// Features asks the runtime what it can do; the answer is the JSON of an OCI
// runtime's features. It needs neither Root nor Bundle nor ID. crun before 1.8.6
// and runc before 1.1 cannot say: ErrUnsupported.
func (r *Runtime) Features(ctx context.Context) ([]byte, error) {
	return r.run(ctx, &call{verb: verbFeatures, answer: true})
}

// Features asks a binary what it can do; see Runtime.Features.
func Features(ctx context.Context, rp *reaper.Reaper, binary string) ([]byte, error) {
	r := Runtime{Binary: binary, Reaper: rp}
	return r.Features(ctx)
}

// simple runs a verb that has the container's id as its only argument and
// prints nothing but complaints.
func (r *Runtime) simple(ctx context.Context, c *call) error {
	c.printed = true
	c.last = []string{r.ID}
	_, err := r.run(ctx, c)
	return err
}

func (c *call) writesPid(file string) {
	c.pidFile = file
	if file != "" {
		c.args = append(c.args, "--pid-file", file)
	}
}

// memFile is a file in memory that holds data, to be read from its beginning.
// name is for /proc only.
func memFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(data); err == nil {
		_, err = f.Seek(0, 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	return f, nil
}
