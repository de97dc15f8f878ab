package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

// rawName is the column of the runtime without a shim.
const rawName = "raw runc"

// rawContainer is a container that the runtime makes alone, with the arguments
// that shims give it.
type rawContainer struct {
	id     string
	root   string // of the runtime's state
	bundle *client.Bundle
	init   *client.Hold // from create on
}

// rawContainer mounts the rootfs in a new bundle. end must be called.
func (b *bench) rawContainer(args ...string) (_ *rawContainer, err error) {
	d := b.daemons[0]
	c := &rawContainer{id: d.nextID(), root: d.runtimeRoot()}
	config, err := client.DefaultSpec(d.Namespace, c.id, args...).JSON()
	if err != nil {
		return nil, err
	}
	m, err := d.overlay(c.id)
	if err != nil {
		return nil, err
	}
	if c.bundle, err = d.NewBundle(c.id, config); err != nil {
		return nil, err
	}
	rootfs := filepath.Join(c.bundle.Path, "rootfs")
	if err := unix.Mount(m.Source, rootfs, m.Type, 0, strings.Join(m.Options, ",")); err != nil {
		return nil, errors.Join(fmt.Errorf("mount the rootfs: %w", err), c.bundle.Delete())
	}
	return c, nil
}

// runc runs the runtime; out, which may be nil, becomes its stdout, and after
// create the container's.
func (c *rawContainer) runc(ctx context.Context, out *os.File, args ...string) error {
	common := []string{"--root", c.root, "--log", filepath.Join(c.bundle.Path, "log.json"), "--log-format", "json"}
	cmd := exec.CommandContext(ctx, "runc", append(common, args...)...)
	cmd.Dir = c.bundle.Path
	// Anything but a file would be a pipe, and its end would be waited for.
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(filepath.Join(c.bundle.Path, "log.json"))
		return fmt.Errorf("runc %s: %w: %s", strings.Join(args, " "), err, log)
	}
	return nil
}

// create took as long as the runtime ran.
func (c *rawContainer) create(ctx context.Context, out *os.File) (took time.Duration, err error) {
	pidFile := filepath.Join(c.bundle.Path, "init.pid")
	took, err = timed(func() error {
		return c.runc(ctx, out, "create", "--bundle", c.bundle.Path, "--pid-file", pidFile, c.id)
	})
	if err != nil {
		return 0, err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	c.init, err = client.HoldPid(pid)
	return took, err
}

func (c *rawContainer) start(ctx context.Context) (took time.Duration, err error) {
	return timed(func() error { return c.runc(ctx, nil, "start", c.id) })
}

// end clears away the container, from wherever it stands.
func (c *rawContainer) end(ctx context.Context) error {
	err := c.runc(ctx, nil, "delete", "--force", c.id)
	if c.init != nil {
		err = errors.Join(err, c.init.Wait(ctx), c.init.Close())
	}
	return errors.Join(err, c.bundle.Delete())
}

// rawLatency makes and starts a container.
func (b *bench) rawLatency(ctx context.Context) (err error) {
	c, err := b.rawContainer("sleep", "3600")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.end(ctx)) }()
	create, err := c.create(ctx, nil)
	if err != nil {
		return err
	}
	start, err := c.start(ctx)
	if err != nil {
		return err
	}
	b.addNamed("latency.create", rawName, create.Seconds()*1000)
	b.addNamed("latency.start", rawName, start.Seconds()*1000)
	return nil
}

// rawStream has a container write pieces straight into what the client reads: no
// shim can pass on more than that.
func (b *bench) rawStream(ctx context.Context, piece, count int64) (_ *sink, err error) {
	c, err := b.rawContainer(writer(piece, count)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.end(ctx)) }()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_, err = c.create(ctx, w)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	s := &sink{}
	if _, err := s.ReadFrom(r); err != nil {
		return nil, err
	}
	return s, s.whole(piece, count)
}
