package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// Launcher runs a shim's binary as one daemon does. Its fields are what that
// daemon tells each of its shims; they may not change while it is in use.
type Launcher struct {
	Dialect   Dialect
	Shim      string // the shim's binary: an absolute path
	Namespace string
	// Address is the path of the daemon's gRPC socket. Shims do not dial it, but
	// it is a part of the names of their sockets: no two daemons may share it.
	Address string
	// State is where bundles are made: <State>/<Namespace>/<id>. Root is where
	// their work directories are; empty is none. Fifos is where stdio fifos are.
	State, Root, Fifos string
	// EventsAddress is the path of the ttrpc socket that events go to.
	EventsAddress string
	// Daemon is the daemon's own binary; empty means the running one.
	Daemon string
	// SocketDir is where shims put their sockets, with DialectBootstrap only;
	// empty leaves it to the shim.
	SocketDir string
	// Version is the containerd version that BootstrapParams tell.
	Version   string
	Debug     bool
	SchedCore bool
	// Env is added to the caller's environment for the shim.
	Env []string
	// Log gets what shims write to their bundles' log fifo; nil drops it. It
	// must be safe for use by several goroutines when there are several shims.
	Log io.Writer
}

// NewBundle makes a bundle where the launcher's fields say.
func (l *Launcher) NewBundle(id string, config []byte) (*Bundle, error) {
	return NewBundle(l.State, l.Root, l.Namespace, id, config)
}

// Start runs `start` in the bundle and connects to the shim that answers, which
// for a container of a group may be one that runs already. Options may be nil.
//
// It fails with what the binary printed, or with ErrAnswer. If it fails after a
// shim was started, that shim is not undone: Delete does that. ctx bounds the
// binary's run (it is killed then); the shim that it leaves is not bound to ctx.
func (l *Launcher) Start(ctx context.Context, b *Bundle, options *runcopts.Options) (_ *Shim, err error) {
	cmd, err := l.startCommand(ctx, b, options)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	log, err := openLog(b, l.Log)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	// Waits for the end of file on the pipe that both outputs share: a shim that
	// kept it open would hang here, as it would hang containerd.
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, runError("start shim", ctx, out, err)
	}
	endpoint, err := ParseAnswer(l.Dialect, out)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.Path, "shim-binary-path"), []byte(l.Shim), 0o600); err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	s, err := connect(b, endpoint, log)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	if l.Dialect != DialectAddress {
		if err := endpoint.save(b); err != nil {
			s.Close()
			return nil, fmt.Errorf("start shim: %w", err)
		}
	}
	return s, nil
}

// Load connects to the shim that a bundle belongs to, as a restarted daemon
// does, and asks it whether it is there.
func (l *Launcher) Load(ctx context.Context, b *Bundle) (_ *Shim, err error) {
	endpoint, err := loadEndpoint(l.Dialect, b)
	if err != nil {
		return nil, fmt.Errorf("load shim: %w", err)
	}
	return l.attach(ctx, b, endpoint, "load shim")
}

// Join connects a new bundle to the shim of its sandbox without running the
// binary, as daemons do with shims that answered version 3.
func (l *Launcher) Join(ctx context.Context, b *Bundle, sandbox *Shim) (*Shim, error) {
	if err := os.WriteFile(filepath.Join(b.Path, "sandbox"), []byte(sandbox.Bundle.ID), 0o600); err != nil {
		return nil, fmt.Errorf("join shim: %w", err)
	}
	if err := sandbox.Endpoint.save(b); err != nil {
		return nil, fmt.Errorf("join shim: %w", err)
	}
	return l.attach(ctx, b, sandbox.Endpoint, "join shim")
}

func (l *Launcher) attach(ctx context.Context, b *Bundle, endpoint Endpoint, what string) (*Shim, error) {
	log, err := openLog(b, l.Log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	s, err := connect(b, endpoint, log)
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if _, err := s.Task.Connect(ctx, &task.ConnectRequest{Id: b.ID}); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: connect: %w", what, err)
	}
	return s, nil
}

// Delete runs `delete`, which a daemon does when it has lost a shim, and returns
// what the binary found out about the container. The bundle stays: removing it
// is the caller's next step.
func (l *Launcher) Delete(ctx context.Context, b *Bundle) (*task.DeleteResponse, error) {
	args := []string{"-id", b.ID, "-bundle", b.Path}
	if l.Dialect == DialectBootstrap && l.Debug {
		args = append(args, "-debug")
	}
	cmd, err := l.command(ctx, b.Path, append(args, "delete")...)
	if err != nil {
		return nil, fmt.Errorf("delete by shim: %w", err)
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, runError("delete by shim", ctx, errOut.Bytes(), err)
	}
	if errOut.Len() > 0 && l.Log != nil {
		l.Log.Write(errOut.Bytes())
	}
	var r task.DeleteResponse
	if err := r.Unmarshal(out.Bytes()); err != nil {
		return nil, fmt.Errorf("delete by shim: answer %q: %w", out.Bytes(), err)
	}
	return &r, nil
}

// Info runs `-info`, which daemons from 2.0 on do when they boot. Options may be nil.
func (l *Launcher) Info(ctx context.Context, options *runcopts.Options) (*types.RuntimeInfo, error) {
	cmd := exec.CommandContext(ctx, l.Shim, "-info")
	stdin, err := optionsInput(options)
	if err != nil {
		return nil, fmt.Errorf("ask shim for info: %w", err)
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return nil, runError("ask shim for info", ctx, errOut.Bytes(), err)
	}
	var info types.RuntimeInfo
	if err := info.Unmarshal(out.Bytes()); err != nil {
		return nil, fmt.Errorf("ask shim for info: answer %q: %w", out.Bytes(), err)
	}
	return &info, nil
}

// ShimVersion runs `-v` and returns the text it printed.
func (l *Launcher) ShimVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, l.Shim, "-v").CombinedOutput()
	if err != nil {
		return "", runError("ask shim for version", ctx, out, err)
	}
	return string(out), nil
}

// startCommand is containerd's for `start`: arguments, directory, environment
// and standard input as the daemon of that dialect gives them.
func (l *Launcher) startCommand(ctx context.Context, b *Bundle, options *runcopts.Options) (*exec.Cmd, error) {
	args := []string{"-id", b.ID}
	if l.Debug {
		args = append(args, "-debug")
	}
	cmd, err := l.command(ctx, b.Path, append(args, "start")...)
	if err != nil {
		return nil, err
	}
	var stdin []byte
	if l.Dialect == DialectBootstrap {
		stdin, err = l.params(b, options)
	} else {
		stdin, err = optionsInput(options)
	}
	if err != nil {
		return nil, err
	}
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	return cmd, nil
}

func (l *Launcher) command(ctx context.Context, dir string, args ...string) (*exec.Cmd, error) {
	daemon, err := l.daemon()
	if err != nil {
		return nil, err
	}
	common := []string{"-namespace", l.Namespace, "-address", l.Address, "-publish-binary", daemon}
	cmd := exec.CommandContext(ctx, l.Shim, append(common, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2")
	if l.Dialect != DialectAddress {
		cmd.Env = append(cmd.Env, "MAX_SHIM_VERSION=2")
	}
	cmd.Env = append(cmd.Env, "TTRPC_ADDRESS="+l.EventsAddress)
	if l.Dialect != DialectAddress {
		cmd.Env = append(cmd.Env, "GRPC_ADDRESS="+l.Address, "NAMESPACE="+l.Namespace)
	}
	if l.SchedCore {
		cmd.Env = append(cmd.Env, "SCHED_CORE=1")
	}
	cmd.Env = append(cmd.Env, l.Env...)
	// A signal to the daemon's process group is not meant for its shims.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, nil
}

func (l *Launcher) daemon() (string, error) {
	if l.Daemon != "" {
		return l.Daemon, nil
	}
	return os.Executable()
}

// params is the standard input of `start` in DialectBootstrap.
func (l *Launcher) params(b *Bundle, options *runcopts.Options) ([]byte, error) {
	daemon, err := l.daemon()
	if err != nil {
		return nil, err
	}
	p := bootstrap.BootstrapParams{
		InstanceId:             b.ID,
		Namespace:              l.Namespace,
		ContainerdVersion:      l.Version,
		ContainerdTtrpcAddress: l.EventsAddress,
		ContainerdGrpcAddress:  l.Address,
		ContainerdBinary:       daemon,
		SocketDir:              l.SocketDir,
	}
	if l.Debug {
		p.LogLevel = bootstrap.LogLevel_LOG_LEVEL_DEBUG
	}
	any, err := optionsAny(options)
	if err != nil {
		return nil, err
	}
	if any != nil {
		p.Extensions = []*bootstrap.Extension{{Value: any}}
	}
	return p.Marshal()
}

// optionsInput is the standard input of the other dialects and of -info: an
// Any's bytes, or nil for no options.
func optionsInput(options *runcopts.Options) ([]byte, error) {
	any, err := optionsAny(options)
	if any == nil || err != nil {
		return nil, err
	}
	return any.Marshal()
}

func optionsAny(options *runcopts.Options) (*wkt.Any, error) {
	if options == nil {
		return nil, nil
	}
	return proto.Pack(options)
}

// runError tells why a run of the shim's binary failed: what it printed comes
// first, because that is what a user of the daemon reads.
func runError(what string, ctx context.Context, out []byte, err error) error {
	if ctx.Err() != nil {
		err = fmt.Errorf("killed: %w: %w", context.Cause(ctx), err)
	}
	if text := strings.TrimSpace(string(out)); text != "" {
		return fmt.Errorf("%s: %s: %w", what, text, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
