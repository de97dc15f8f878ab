package stress

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
	"github.com/holdfast-shim/holdfast/usage"
)

// holding is what a shim has.
type holding struct {
	usage.Process
	goroutines int
}

func (h holding) String() string {
	return fmt.Sprintf("%d files, %d threads, %d goroutines, %.2f MB anonymous", h.Files, h.Threads, h.goroutines, float64(h.Anonymous)/1e6)
}

// watched is a shim that can be asked what it has.
type watched struct {
	*harness.Daemon
	t   *testing.T
	pid int
	h   *client.Hold
}

func (w *watched) holds() holding {
	w.t.Helper()
	p, err := usage.Of(w.pid)
	if err != nil {
		w.t.Fatal(err)
	}
	return holding{p, w.goroutines()}
}

// goroutines counts them in a dump, which the shim writes to its log.
func (w *watched) goroutines() int {
	w.t.Helper()
	before := w.ShimLog.Len()
	if err := w.h.Signal(unix.SIGUSR1); err != nil {
		w.t.Fatal(err)
	}
	var dump string
	w.Eventually("the shim dumps its goroutines", func() error {
		_, text, ok := strings.Cut(string(w.ShimLog.Bytes()[before:]), `"stacks":`)
		line, _, whole := strings.Cut(text, "\n")
		if !ok || !whole {
			return fmt.Errorf("%d bytes of log have come", len(text))
		}
		dump = line
		return nil
	})
	return strings.Count(dump, `goroutine `) - strings.Count(dump, `in goroutine `)
}

// settled asks until there is no more than there was: what was asked for last
// may take a moment to go.
func (w *watched) settled(was holding) holding {
	w.t.Helper()
	var now holding
	w.Eventually("files and goroutines are as before", func() error {
		now = w.holds()
		if now.Files > was.Files || now.goroutines > was.goroutines {
			return fmt.Errorf("%v; and before %v", now, was)
		}
		return nil
	})
	return now
}

// DESIGN's promise 4; containerd 13561, ttrpc 236, and 11160, 11205 for the ends of
// terminals. With HOLDFAST_STRESS=20000 it is 20,000 execs and 2,000 containers.
func TestExecsAndContainersOfAPodLeaveItsShimAsItWas(t *testing.T) {
	d, n := start(t), times(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "100000"}})
	pod.Start()
	w := &watched{Daemon: d, t: t, h: pod.HoldShim()}
	w.pid = w.h.Pid()
	some := func(from, execs, containers int) {
		each(t, execs, func(i int) error { return oneExec(pod, fmt.Sprintf("x%d", from+i), from+i) })
		each(t, containers, func(i int) error { return oneMember(pod, d, fmt.Sprintf("m%d", from+i)) })
	}
	// What is made once is made by the first.
	some(0, n/4, n/40)
	was := w.holds()
	t.Logf("after %d execs and %d containers: %v", n/4, n/40, was)
	some(n/4, n/4, n/40)
	half := w.settled(was)
	t.Logf("after %d execs and %d containers: %v", n/2, n/20, half)
	some(n/2, n-n/2, n/10-n/20)
	now := w.settled(was)
	t.Logf("after %d execs and %d containers: %v", n, n/10, now)
	// How many threads the Go runtime makes is a matter of the moment, but not of
	// how much came before.
	if now.Threads > was.Threads+4 {
		t.Errorf("%d threads, and %d before", now.Threads, was.Threads)
	}
	// As is memory: a collection more or less shows only in few calls.
	if grown := now.Anonymous - half.Anonymous; n >= 2000 && grown > 300e3 {
		t.Errorf("%d bytes more after %d execs than after %d", grown, n, n/2)
	}
	pod.Finish()
}

// oneMember is the life of a container in the pod's shim.
func oneMember(pod *harness.Container, d *harness.Daemon, id string) error {
	ctx, cancel := patience()
	defer cancel()
	c, err := d.TryCreate(harness.Want{ID: id, Args: []string{"sh", "-c", "exit 5"}, Sandbox: pod, Join: true})
	if err != nil {
		return err
	}
	if _, err := c.Container.Start(ctx); err != nil {
		return err
	}
	if status, _, err := c.Container.Wait(ctx); err != nil || status != 5 {
		return fmt.Errorf("status %d, %v", status, err)
	}
	_, err = c.Container.Delete(ctx)
	return err
}

// containerd 10192: socket files pile up. Half of the shims are shut down, half are
// killed and cleaned up after.
func TestSocketsOfManyShimsDoNotPileUp(t *testing.T) {
	d, n := start(t), times(t)
	config, err := client.DefaultSpec(d.Namespace, "c", "true").JSON()
	if err != nil {
		t.Fatal(err)
	}
	each(t, n, func(i int) error {
		ctx, cancel := patience()
		defer cancel()
		b, err := d.NewBundle(fmt.Sprintf("c%d", i), config)
		if err != nil {
			return err
		}
		s, err := d.Start(ctx, b, nil)
		if err != nil {
			return err
		}
		if err := endShim(ctx, d, s, i%2 == 0); err != nil {
			return err
		}
		return b.Delete()
	})
	d.Eventually("the directory of sockets is empty", func() error {
		left, err := filepath.Glob(filepath.Join(d.SocketDir, "*"))
		if err != nil || len(left) > 0 {
			return fmt.Errorf("%d files, %v", len(left), err)
		}
		return nil
	})
}

// endShim ends a shim without a container.
func endShim(ctx context.Context, d *harness.Daemon, s *client.Shim, orderly bool) error {
	defer s.Close()
	h, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	if orderly {
		if err := s.Shutdown(ctx); err != nil {
			return err
		}
		return h.Wait(ctx)
	}
	if err := h.Signal(unix.SIGKILL); err != nil {
		return err
	}
	if err := h.Wait(ctx); err != nil {
		return err
	}
	_, err = d.Delete(ctx, s.Bundle)
	return err
}
