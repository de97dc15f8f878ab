package cgroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Remove removes the group and those nested in it from every hierarchy in which it
// is the container's own. The OCI runtime does that as a rule; this is for when it
// no longer knows the container. Processes that were killed leave the group when
// they have ended, which is waited for until ctx is done. A group that is gone is
// no error.
func (g *Group) Remove(ctx context.Context) error {
	own, err := g.own()
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	me, err := memberships(self)
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	var errs []error
	for _, p := range g.Places {
		if p.Path != own.Path && !madeByRuntime(p) || alone(p, me) != nil {
			continue
		}
		if err := remove(ctx, p.Dir); err != nil {
			errs = append(errs, fmt.Errorf("remove cgroup %s of %s: %w", p.Path, p.name(), err))
		}
	}
	return errors.Join(errs...)
}

// remove tries until the group is gone or ctx is done: the kernel does not tell when
// a version 1 group has become empty.
func remove(ctx context.Context, dir string) error {
	const step = 5 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	for {
		err := rmdir(dir)
		if err == nil || !errors.Is(err, unix.EBUSY) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// rmdir removes a group after those nested in it.
func rmdir(dir string) error {
	names, err := nested(dir)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	for _, name := range names {
		if err := rmdir(dir + "/" + name); err != nil {
			return err
		}
	}
	if err := unix.Rmdir(dir); err != nil && !gone(err) {
		return err
	}
	return nil
}
