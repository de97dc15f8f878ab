package main

import (
	"fmt"
	"io"
)

const million = 1e6

// memory looks at idle shims that hold one running container: at one, and at
// many, which share their binary's pages.
func (b *bench) memory() error {
	for range b.effort.Idle {
		if err := b.each(func(d *daemon) error {
			return b.idle(d, 1, func(u usage) {
				b.add("memory.anonymous", d, u.anonymous/million)
				b.add("memory.rss", d, u.rss/million)
				b.add("memory.pss", d, u.pss/million)
				b.add("memory.threads", d, float64(u.threads))
				b.add("memory.fds", d, float64(u.fds))
			})
		}); err != nil {
			return err
		}
	}
	return b.each(func(d *daemon) error {
		return b.idle(d, b.effort.Shims, func(u usage) {
			b.add("memory.many.anonymous", d, u.anonymous/million)
			b.add("memory.many.rss", d, u.rss/million)
			b.add("memory.many.pss", d, u.pss/million)
			b.add("memory.many.threads", d, float64(u.threads))
		})
	})
}

// idle has n shims hold a container each and looks at every one of them.
func (b *bench) idle(d *daemon, n int, look func(usage)) error {
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
		u, err := usageOf(c.hold.Pid())
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
		before, err := usageOf(c.hold.Pid())
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
		after, err := usageOf(c.hold.Pid())
		if err != nil {
			return fmt.Errorf("execs: %w", err)
		}
		b.add("execs.anonymous", d, after.anonymous/million)
		b.add("execs.anonymous.growth", d, (after.anonymous-before.anonymous)/million)
		b.add("execs.fds.growth", d, float64(after.fds-before.fds))
		b.add("execs.threads", d, float64(after.threads))
		ctx, cancel = b.stepCtx()
		defer cancel()
		return c.end(ctx)
	})
}
