package bootstrap

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/reaper"
)

// Call is one run of the binary by containerd.
type Call struct {
	Program string // argv[0]
	Flags   Flags
	Env     []string // "NAME=value", as from os.Environ
	Stdin   io.Reader
	Stdout  io.Writer // gets the answer, in one Write, and nothing else
	Stderr  io.Writer // gets what Delete could not do, a line each; nothing else

	// SocketDir takes the place of DefaultSocketDir; "" is the normal case.
	SocketDir string
}

// Start makes the shim of the container's group, or finds the one that lives, and
// answers on Stdout where it listens. When it returns nil, that shim's socket
// accepts connections. When it returns an error, nothing is left of what it
// did, but this process may have become what the shim should have been: it is
// meant to end.
func Start(c *Call) error {
	if err := reaper.Supported(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	input, err := readInput(c.Stdin)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	env := environ(c.Env)
	r, err := understand(input, c.Flags, env)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if r.socketDir == "" {
		r.socketDir = c.SocketDir
	}
	dir := c.Flags.Bundle
	if dir == "" {
		dir = "."
	}
	group, err := groupOf(dir, c.Flags.ID)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	path, err := socketPath(r.socketDir, r.grpcAddress, c.Flags.Namespace, group)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := serveAt(c, r, env, dir, path); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// serveAt has a shim listen at path and answers. The address is written into the
// bundle before there is anything at it: a containerd that is restarted may know no
// other way to the shim, nor `delete`, should this process be killed half-way, to
// its socket. A failure leaves no address file.
func serveAt(c *Call, r request, env environ, dir, path string) (err error) {
	if err := bundle.WriteAddress(dir, addressOf(path)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(filepath.Join(dir, bundle.AddressFile))
		}
	}()
	version, err := claim(path, c.Flags.ID, r.dialect.version(), patience, nil)
	if err != nil {
		return err
	}
	if version != 0 {
		return tell(c.Stdout, path, r.dialect, version)
	}
	return launch(c, r, env, dir, path)
}

func addressOf(path string) string { return "unix://" + path }

// launch makes a shim that serves at path and answers. The shim comes first and the
// socket's file second, so that there is always somebody to remove it: containerd
// kills a start whose client has gone, and calls no `delete` then. If another start
// was quicker, its shim is the answer and ours ends. An error undoes all.
func launch(c *Call, r request, env environ, dir, path string) error {
	if err := becomeLikeShim(r, env); err != nil {
		return err
	}
	s, err := newSocket()
	if err != nil {
		return err
	}
	shim, err := spawn(servingArgs(c.Flags, r), env.forServing(r, c.Flags.Namespace), dir, s.fd)
	if err != nil {
		s.remove()
		return err
	}
	prefer := r.dialect.version()
	others, err := claim(path, c.Flags.ID, prefer, patience, s)
	if err == nil {
		err = tell(c.Stdout, path, r.dialect, cmp.Or(others, prefer))
	}
	if err != nil || others != 0 {
		shim.end()
		s.remove()
		return err
	}
	shim.release()
	unix.Close(s.fd)
	return nil
}

// servingArgs is the command line of the serving shim.
func servingArgs(f Flags, r request) []string {
	args := []string{"-namespace", f.Namespace, "-id", f.ID, "-address", r.grpcAddress}
	if r.publishBinary != "" {
		args = append(args, "-publish-binary", r.publishBinary)
	}
	if r.level <= bootapi.LogLevel_LOG_LEVEL_DEBUG {
		args = append(args, "-debug")
	}
	return args
}

// groupOf returns the name of the group that the container belongs to: what
// its spec says, or itself. A bundle without a spec, such as that of a sandbox
// without a container, is a group of its own.
func groupOf(dir, id string) (string, error) {
	config, err := bundle.ReadConfig(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return "", err
	}
	group, named, err := bundle.Group(config)
	if err != nil {
		return "", fmt.Errorf("read the container's spec: %w", err)
	}
	if !named {
		return id, nil
	}
	return group, nil
}

// version is that of the Task API that an answer in this dialect names when it
// can choose. containerd 1.7 refuses 3; every later one takes 2 as well, and
// ours serves both.
func (d dialect) version() int {
	if d == bootstrapResult {
		return 3
	}
	return 2
}

// tell answers where the shim listens.
func tell(stdout io.Writer, path string, d dialect, version int) error {
	out, err := answer(d, addressOf(path), version)
	if err != nil {
		return err
	}
	if err := put(stdout, out); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

// answer words the address in the dialect.
func answer(d dialect, address string, version int) ([]byte, error) {
	switch d {
	case plainAddress:
		return []byte(address), nil
	case jsonParams:
		return json.Marshal(struct {
			Version  int    `json:"version"`
			Address  string `json:"address"`
			Protocol string `json:"protocol"`
		}{version, address, "ttrpc"})
	default:
		return (&bootapi.BootstrapResult{Version: int32(version), Address: address, Protocol: "ttrpc"}).Marshal()
	}
}
