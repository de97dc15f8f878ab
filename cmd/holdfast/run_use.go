package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/client"
)

// callPatience bounds a call to the shim that a person waits for.
const callPatience = 30 * time.Second

// errShimDied says that the shim ended while it had a container.
var errShimDied = errors.New("the shim died")

// useAndRemove starts the container, waits for its end, and removes it.
func (r *run) useAndRemove() (code int, err error) {
	code, err = r.use()
	r.term.restore()
	return code, errors.Join(err, r.removeContainer())
}

// use returns the container's exit code, or the tool's own with an error.
func (r *run) use() (code int, err error) {
	if r.term != nil {
		// Before start: the first thing that a program may do is ask for the size.
		r.resize()
		if r.o.Input {
			if err := r.term.setRaw(); err != nil {
				return exitTrouble, err
			}
		}
	}
	// One signal may be for what has started though its answer has not come yet.
	if code, err := r.orSignals(2, func(ctx context.Context) error {
		_, err := r.container.Start(ctx)
		return r.explain(err)
	}); err != nil {
		return code, err
	}
	status, err := r.wait()
	if err != nil {
		return exitTrouble, err
	}
	r.drain()
	select {
	case <-r.stdout.broken:
		return 128 + int(syscall.SIGPIPE), nil
	default:
		return int(status), nil
	}
}

// wait passes signals on until the container has ended.
func (r *run) wait() (uint32, error) {
	type end struct {
		status uint32
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		status, _, err := r.container.Wait(context.Background())
		ended <- end{status, err}
	}()
	broken := r.stdout.broken
	for _, s := range r.pending {
		r.pass(s)
	}
	for {
		select {
		case e := <-ended:
			return e.status, r.explain(e.err)
		case <-broken:
			// Nobody reads what it prints: it ends as a program does that writes
			// to a pipe without a reader.
			broken = nil
			r.kill(syscall.SIGKILL)
		case s := <-r.signals:
			if r.pass(s.(syscall.Signal)) {
				return 0, errors.New("gave up waiting for the container's end")
			}
		}
	}
}

// explain tells a shim that died from a call that failed.
func (r *run) explain(err error) error {
	if err == nil {
		return nil
	}
	if r.shimDied(err) {
		if text := r.log.String(); !r.o.Debug && strings.Contains(text, "goroutine ") {
			// A crash of ours: its trace is what a report of it needs.
			fmt.Fprint(os.Stderr, text)
		}
		return errShimDied
	}
	return err
}

// shimDied tells whether a call failed because there is no shim any more.
func (r *run) shimDied(err error) bool {
	select {
	case <-r.container.Shim.Closed():
		return true
	default:
		return errors.Is(err, ttrpc.ErrClosed)
	}
}

// pass gives a signal to the container. The second that asks for an end kills,
// and after the third it is true: waiting makes no sense.
func (r *run) pass(s syscall.Signal) (giveUp bool) {
	if s == syscall.SIGWINCH {
		if r.term != nil {
			r.resize()
		}
		return false
	}
	if asksForEnd(s) {
		r.kills++
	}
	switch {
	case r.kills > 2:
		return true
	case r.kills == 2:
		s = syscall.SIGKILL
	}
	r.kill(s)
	return false
}

// kill does not wait for the answer: the shim may be the one that hangs, and the
// next signal must get through. Whether it worked shows by the container's end.
func (r *run) kill(s syscall.Signal) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), callPatience)
		defer cancel()
		r.container.Kill(ctx, s)
	}()
}

// resize gives the container's terminal the size of the caller's. A shim that
// fails at that is not worth ending a container for.
func (r *run) resize() {
	width, height := r.term.size()
	if width == 0 || height == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	r.container.Resize(ctx, width, height)
}

// drain waits until the output of the ended container has been written out, for
// as long as its reader takes; a signal that asks for an end cuts it short.
func (r *run) drain() {
	for {
		select {
		case <-r.container.IO.Copied():
			return
		case <-r.container.Shim.Closed():
			return
		case s := <-r.signals:
			if asksForEnd(s.(syscall.Signal)) {
				return
			}
		}
	}
}

// removeContainer removes the container by way of the shim, or, when the shim is
// dead or does not answer, without it.
func (r *run) removeContainer() error {
	if r.kills > 2 {
		return r.removeByForce()
	}
	err := r.removeByShim()
	if err == nil {
		return nil
	}
	if r.shimDied(err) {
		// What died cannot be asked; that it died was told already.
		err = nil
	}
	return errors.Join(err, r.removeByForce())
}

func (r *run) removeByShim() error {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	// A container that was never started, or that was given up.
	r.container.Kill(ctx, syscall.SIGKILL)
	if _, _, err := r.container.Wait(ctx); err != nil {
		return err
	}
	if _, err := r.container.Delete(ctx); err != nil {
		return err
	}
	r.lastEvent(ctx)
	return r.endShim()
}

// endPatience is how long a shim may take to end after its last answer.
const endPatience = 10 * time.Second

// endShim sees to it that the shim, which has nothing left to hold, is gone.
func (r *run) endShim() error {
	if r.shim == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	if r.shim.Wait(ctx) == nil {
		return nil
	}
	ctx, cancel = context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	return errors.Join(fmt.Errorf("the shim did not end within %v and was killed", endPatience),
		r.shim.Signal(syscall.SIGKILL), r.shim.Wait(ctx))
}

// lastEvent waits until the container's last event has come, so that it is
// printed: the shim sends it when it has answered.
func (r *run) lastEvent(ctx context.Context) {
	if !r.o.Events {
		return
	}
	r.events.Wait(ctx, func(e client.Event) bool {
		return e.Topic == client.TopicDelete && e.ContainerID == r.o.ID
	})
}

// removeByForce kills the shim and has its binary clean up, as daemons do.
func (r *run) removeByForce() error {
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	if r.shim != nil {
		if err := r.shim.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		if err := r.shim.Wait(ctx); err != nil {
			return err
		}
	}
	// Output of what still runs would keep the cleaning waiting.
	r.container.IO.Detach()
	_, err := r.container.Cleanup(ctx)
	return err
}
