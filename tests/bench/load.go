package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-shim/holdfast/usage"
)

const (
	stormWidth = 8
	probeEvery = time.Second / 50
	probesMost = 8 // under way at once; a kubelet gives up on those that come late
)

// storm starts many containers, eight at a time, and ends them again. What is
// told is the time of the starting by the container.
func (b *bench) storm() error {
	return b.each(func(d *daemon) error {
		ctx, cancel := context.WithTimeout(b.ctx, patience*time.Duration(1+b.effort.Storm/stormWidth))
		defer cancel()
		var (
			mu  sync.Mutex
			all []*container
		)
		group, groupCtx := errgroup.WithContext(ctx)
		group.SetLimit(stormWidth)
		took, err := timed(func() error {
			for range b.effort.Storm {
				group.Go(func() error {
					c, err := d.run(groupCtx, io.Discard, "sleep", "3600")
					if err != nil {
						return err
					}
					mu.Lock()
					all = append(all, c)
					mu.Unlock()
					return nil
				})
			}
			return group.Wait()
		})
		if err != nil {
			return fmt.Errorf("start %d containers: %w", b.effort.Storm, err)
		}
		b.addTime("storm.time", d, took/time.Duration(b.effort.Storm))
		for _, c := range all {
			if err := c.end(ctx); err != nil {
				return fmt.Errorf("end the containers: %w", err)
			}
		}
		return nil
	})
}

// probes runs an exec every 20 ms, as fifty exec probes of one second would.
func (b *bench) probes() error {
	spec, err := execSpec("true")
	if err != nil {
		return err
	}
	return b.each(func(d *daemon) error {
		ctx, cancel := context.WithTimeout(b.ctx, patience+b.effort.Probes)
		defer cancel()
		c, err := d.run(ctx, io.Discard, "sleep", "86400")
		if err != nil {
			return err
		}
		before, err := usage.CPUOf(c.hold.Pid())
		if err != nil {
			return err
		}
		began := time.Now()
		done, err := c.probe(ctx, spec, b.effort.Probes)
		if err != nil {
			return fmt.Errorf("exec probes: %w", err)
		}
		took := time.Since(began)
		after, err := usage.CPUOf(c.hold.Pid())
		if err != nil {
			return err
		}
		own, reaped := after.Own-before.Own, after.Reaped-before.Reaped
		b.add("probes.rate", d, float64(done)/took.Seconds())
		b.addTime("probes.cpu", d, own/time.Duration(done))
		b.addTime("probes.cpu.all", d, (own+reaped)/time.Duration(done))
		return c.end(ctx)
	})
}

// probe runs execs for the time given and reports how many there were.
func (c *container) probe(ctx context.Context, spec []byte, length time.Duration) (int, error) {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(probesMost)
	tick, end := time.NewTicker(probeEvery), time.After(length)
	defer tick.Stop()
	done := 0
	for {
		select {
		case <-tick.C:
			id := fmt.Sprintf("p%d", done)
			if group.TryGo(func() error {
				_, err := c.exec(groupCtx, id, spec)
				return err
			}) {
				done++
			}
		case <-end:
			err := group.Wait()
			if err == nil && done == 0 {
				err = errors.New("there was none")
			}
			return done, err
		case <-groupCtx.Done():
			return done, group.Wait()
		}
	}
}
