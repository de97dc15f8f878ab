package main

import (
	"fmt"
	"io"

	"github.com/holdfast-shim/holdfast/usage"
)

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

// memory looks at idle shims that hold one running container: at one, and at
// many, which share their binary's pages.
func (b *bench) memory() error {
	for range b.effort.Idle {
		if err := b.each(func(d *daemon) error {
			return b.idle(d, 1, func(u usage.Process) {
				b.add("memory.anonymous", d, megabytes(u.Anonymous))
				b.add("memory.rss", d, megabytes(u.RSS))
				b.add("memory.pss", d, megabytes(u.PSS))
				b.add("memory.threads", d, float64(u.Threads))
				b.add("memory.fds", d, float64(u.Files))
			})
		}); err != nil {
			return err
		}
	}
	return b.each(func(d *daemon) error {
		return b.idle(d, b.effort.Shims, func(u usage.Process) {
			b.add("memory.many.anonymous", d, megabytes(u.Anonymous))
			b.add("memory.many.rss", d, megabytes(u.RSS))
			b.add("memory.many.pss", d, megabytes(u.PSS))
			b.add("memory.many.threads", d, float64(u.Threads))
		})
	})
}

// idle has n shims hold a container each and looks at every one of them.
func (b *bench) idle(d *daemon, n int, look func(usage.Process)) error {
	containers := make([]*container, n)
	for i := range containers {
		ctx, cancel := b.stepCtx()
		c, err := d.run(ctx, io.Discard, "sleep", "3600")
		cancel()
		if err != nil {
			return fmt.Errorf("idle shim: %w", err)
		}
		containers[i] = c
	}
	if err := b.settle(); err != nil {
		return err
	}
	for _, c := range containers {
		u, err := usage.Of(c.hold.Pid())
		if err != nil {
			return fmt.Errorf("idle shim: %w", err)
		}
		look(u)
	}
	for _, c := range containers {
		ctx, cancel := b.stepCtx()
		err := c.end(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("idle shim: %w", err)
		}
	}
	return nil
}

// execs has each shim run many execs, one after the other, and compares what it
// holds with what it held when it was idle.
func (b *bench) execs() error {
	spec, err := execSpec("true")
	if err != nil {
		return err
	}
	return b.each(func(d *daemon) error {
		ctx, cancel := b.stepCtx()
		c, err := d.run(ctx, io.Discard, "sleep", "86400")
		cancel()
		if err != nil {
			return fmt.Errorf("execs: %w", err)
		}
		if err := b.settle(); err != nil {
			return err
		}
		before, err := usage.Of(c.hold.Pid())
		if err != nil {
			return fmt.Errorf("execs: %w", err)
		}
		for i := range b.effort.Execs {
			ctx, cancel := b.stepCtx()
			_, err := c.exec(ctx, fmt.Sprintf("e%d", i), spec)
			cancel()
			if err != nil {
				return fmt.Errorf("exec %d: %w", i, err)
			}
		}
		if err := b.settle(); err != nil {
			return err
		}
		after, err := usage.Of(c.hold.Pid())
		if err != nil {
			return fmt.Errorf("execs: %w", err)
		}
		b.add("execs.anonymous", d, megabytes(after.Anonymous))
		b.add("execs.anonymous.growth", d, megabytes(after.Anonymous-before.Anonymous))
		b.add("execs.fds.growth", d, float64(after.Files-before.Files))
		b.add("execs.threads", d, float64(after.Threads))
		ctx, cancel = b.stepCtx()
		defer cancel()
		return c.end(ctx)
	})
}
