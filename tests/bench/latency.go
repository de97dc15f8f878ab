package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
)

// In one life the quick calls are made more than once: one of a kind says more
// of what else the machine did in that moment than of the call.
const (
	callsInLife = 10
	execsInLife = 2
)

// latency takes containers through their lives, step by step, and beside them
// one that the runtime makes without any shim.
func (b *bench) latency() error {
	spec, err := execSpec("true")
	if err != nil {
		return err
	}
	w, err := watchBirths()
	if err != nil {
		b.note("WHAT SHIMS ADD TO THE RUNTIME IS NOT MEASURED: %v", err)
	} else {
		defer w.close()
	}
	for range b.effort.Rounds {
		if err := b.each(func(d *daemon) error {
			ctx, cancel := b.stepCtx()
			defer cancel()
			if err := b.life(ctx, d, spec, w); err != nil {
				return fmt.Errorf("a life: %w", err)
			}
			if err := b.shortLife(ctx, d); err != nil {
				return fmt.Errorf("a short life: %w", err)
			}
			return nil
		}); err != nil {
			return err
		}
		ctx, cancel := b.stepCtx()
		err := b.rawLatency(ctx)
		cancel()
		if err != nil {
			return fmt.Errorf("raw runc: %w", err)
		}
	}
	return nil
}

// life times each step, and what of it is the shim's own if w is not nil.
func (b *bench) life(ctx context.Context, d *daemon, spec []byte, w *births) error {
	c, launch, err := d.launch(ctx, "sleep", "3600")
	if err != nil {
		return err
	}
	b.addTime("latency.launch", d, launch)
	if err := w.forget(c); err != nil {
		return err
	}
	create, err := c.create(ctx, io.Discard)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	b.addTime("latency.create", d, create)
	start, err := c.start(ctx)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	b.addTime("latency.start", d, start)
	if err := w.beyond(c, create+start, func(own time.Duration) {
		b.addTime("latency.added", d, own)
		b.addTime("latency.added.launch", d, launch+own)
	}); err != nil {
		return err
	}
	if err := b.calls(ctx, c); err != nil {
		return err
	}
	if err := w.forget(c); err != nil { // where such a call takes the runtime
		return err
	}
	for i := range execsInLife {
		took, err := c.exec(ctx, fmt.Sprintf("e%d", i), spec)
		if err != nil {
			return fmt.Errorf("exec: %w", err)
		}
		b.addTime("latency.exec", d, took)
		if err := w.beyond(c, took, func(own time.Duration) { b.addTime("latency.exec.added", d, own) }); err != nil {
			return err
		}
	}
	call, event, err := c.kill(ctx)
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	b.addTime("latency.kill", d, call)
	b.addTime("latency.killed", d, event)
	if err := w.forget(c); err != nil {
		return err
	}
	took, err := c.delete(ctx)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	b.addTime("latency.delete", d, took)
	if err := w.beyond(c, took, func(own time.Duration) { b.addTime("latency.delete.added", d, own) }); err != nil {
		return err
	}
	if took, err = c.shutdown(ctx); err != nil {
		return fmt.Errorf("shutdown: %w", err)
	}
	b.addTime("latency.shutdown", d, took)
	return c.finish(ctx)
}

// quickCall is a call that changes nothing.
type quickCall struct {
	key  string
	call func() error
}

// quickCalls are State, Pids, Stats and Kill. A pid namespace's init does not see
// a signal that it has no handler for, so that killing it is one of them.
func (c *container) quickCalls(ctx context.Context) []quickCall {
	return []quickCall{
		{"latency.state", func() error {
			_, err := c.shim.Task.State(ctx, &task.StateRequest{Id: c.id})
			return err
		}},
		{"latency.pids", func() error {
			_, err := c.shim.Task.Pids(ctx, &task.PidsRequest{Id: c.id})
			return err
		}},
		{"latency.stats", func() error {
			_, err := c.shim.Task.Stats(ctx, &task.StatsRequest{Id: c.id})
			return err
		}},
		{"latency.kill", func() error { return c.signal(ctx, unix.SIGUSR1) }},
	}
}

func (c *container) callOnce(ctx context.Context) error {
	for _, q := range c.quickCalls(ctx) {
		if err := q.call(); err != nil {
			return fmt.Errorf("%s: %w", q.key, err)
		}
	}
	return nil
}

func (b *bench) calls(ctx context.Context, c *container) error {
	quick := c.quickCalls(ctx)
	for range callsInLife {
		for _, q := range quick {
			took, err := timed(q.call)
			if client.Code(err) == codes.Unimplemented {
				continue // its row stays empty, which -check fails at
			}
			if err != nil {
				return fmt.Errorf("%s: %w", q.key, err)
			}
			b.addTime(q.key, c.d, took)
		}
	}
	return nil
}

// shortLife times a container that ends at once, from the bundle's making until
// nothing is left of it.
func (b *bench) shortLife(ctx context.Context, d *daemon) error {
	took, err := timed(func() error {
		c, err := d.run(ctx, io.Discard, "true")
		if err != nil {
			return err
		}
		if _, err := d.exited(ctx, c.id, ""); err != nil {
			return err
		}
		if _, err := c.delete(ctx); err != nil {
			return err
		}
		if _, err := c.shutdown(ctx); err != nil {
			return err
		}
		return c.finish(ctx)
	})
	if err == nil {
		b.addTime("latency.life", d, took)
	}
	return err
}
