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

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

// rawName is the column of the runtime without a shim.
const rawName = "raw runc"

// raw makes and starts a container with the runtime alone, with the arguments
// that shims give it. The rootfs is mounted before, and that is not timed.
func (b *bench) raw(ctx context.Context) (err error) {
	d := b.daemons[0]
	id := d.nextID()
	config, err := client.DefaultSpec(d.Namespace, id, "sleep", "3600").JSON()
	if err != nil {
		return err
	}
	m, err := d.overlay(id)
	if err != nil {
		return err
	}
	bundle, err := d.NewBundle(id, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bundle.Delete()) }()
	rootfs := filepath.Join(bundle.Path, "rootfs")
	if err := unix.Mount(m.Source, rootfs, m.Type, 0, strings.Join(m.Options, ",")); err != nil {
		return fmt.Errorf("mount the rootfs: %w", err)
	}
	pidFile := filepath.Join(bundle.Path, "init.pid")
	runc := func(args ...string) error {
		common := []string{"--root", d.runtimeRoot(), "--log", filepath.Join(bundle.Path, "log.json"), "--log-format", "json"}
		cmd := exec.CommandContext(ctx, "runc", append(common, args...)...)
		cmd.Dir = bundle.Path
		// Its stdio becomes the container's: a pipe would be waited for.
		if err := cmd.Run(); err != nil {
			log, _ := os.ReadFile(filepath.Join(bundle.Path, "log.json"))
			return fmt.Errorf("runc %s: %w: %s", strings.Join(args, " "), err, log)
		}
		return nil
	}
	defer func() { err = errors.Join(err, runc("delete", "--force", id)) }()
	create, err := timed(func() error { return runc("create", "--bundle", bundle.Path, "--pid-file", pidFile, id) })
	if err != nil {
		return err
	}
	start, err := timed(func() error { return runc("start", id) })
	if err != nil {
		return err
	}
	b.addNamed("latency.create", rawName, create.Seconds()*1000)
	b.addNamed("latency.start", rawName, start.Seconds()*1000)
	return kill(ctx, pidFile)
}

// kill ends the process whose pid is in the file and waits for its end.
func kill(ctx context.Context, pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	h, err := client.HoldPid(pid)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return h.Wait(ctx)
}

// subtractRaw derives the rows of what shims add to the runtime's own time. A
// life and the raw one of its round belong together: they ran next to each
// other, and the machine's moods fall on both.
func (b *bench) subtractRaw() {
	create, start, launch := b.samples["latency.create"], b.samples["latency.start"], b.samples["latency.launch"]
	for _, d := range b.daemons {
		name := d.shim.Name
		for i := range min(len(create[rawName]), len(create[name]), len(start[name])) {
			added := create[name][i] + start[name][i] - create[rawName][i] - start[rawName][i]
			b.add("latency.added", d, added)
			b.add("latency.added.launch", d, added+launch[name][i])
		}
	}
}
