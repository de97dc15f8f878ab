package containerd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// containerd 11755: a client of the daemon's that goes away at any moment of a
// container's beginning has the daemon give up on it, by Delete and Shutdown on the
// connection that its Create is still under way on. HOLDFAST_GONE_SEED plays a
// story again.
func TestAClientOfTheDaemonsThatGoesAwayLeavesNoContainer(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("HOLDFAST_GONE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("HOLDFAST_GONE_SEED: %v", err)
		}
		seed = n
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	// Containerd forgets a shim whose start has answered too late to be heard.
	d := start(t, "HOLDFAST_IDLE_TIMEOUT=3s")
	begun := time.Now()
	d.run("first", "sleep", "1000")
	most := time.Since(begun)
	d.finish("first")
	const rounds = 10
	for i := range rounds {
		id := fmt.Sprintf("c%d", i)
		args := d.runArgs([]string{"-d"}, id, "sleep", "1000")
		s, err := d.launch(d.command(args...), args)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(most)))):
		case <-s.ended:
		}
		s.kill()
		d.eventually(id+" is gone", func() error { return d.forget(id) })
		if t.Failed() {
			t.Fatalf("play it again with HOLDFAST_GONE_SEED=%d", seed)
		}
	}
	d.eventually("nothing is left", func() error {
		left, err := d.leaks()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%w: %s; HOLDFAST_GONE_SEED=%d", errNotYet, strings.Join(left, ", "), seed)
		}
		return err
	})
}

// The same with a runtime that has made the container when the client goes, and would
// say so after the daemon has called Delete and Shutdown.
func TestAClientOfTheDaemonsThatGoesAwayFromASlowCreateLeavesNoContainer(t *testing.T) {
	d := start(t)
	d.run("first", "sleep", "1000")
	d.finish("first")
	runtime, mark := filepath.Join(d.dir, "slow-runc"), filepath.Join(d.dir, "creating")
	script := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" create \"*) runc \"$@\" || exit; : >%s; sleep 2; exit 0;; esac\nexec runc \"$@\"\n", mark)
	if err := os.WriteFile(runtime, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	args := d.runArgs([]string{"-d", "--runc-binary", runtime}, "c", "sleep", "1000")
	s, err := d.launch(d.command(args...), args)
	if err != nil {
		t.Fatal(err)
	}
	d.eventually("the runtime creates", func() error {
		_, err := os.Stat(mark)
		return err
	})
	s.kill()
	d.eventually("c is gone", func() error { return d.forget("c") })
	d.eventually("nothing is left", func() error {
		left, err := d.leaks()
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%w: %s", errNotYet, strings.Join(left, ", "))
		}
		return err
	})
}

// forget removes what there is of a container, whatever became of it. It is an
// error as long as something is there.
func (d *daemon) forget(id string) error {
	if t, ok := d.task(id); ok {
		s := d.ctr("task", "rm", "-f", id)
		return fmt.Errorf("%w: the task was %s: %s", errNotYet, t.status, s.Err)
	}
	if slices.Contains(strings.Fields(d.must("container", "ls", "-q")), id) {
		s := d.ctr("container", "rm", id)
		return fmt.Errorf("%w: the container was there: %s", errNotYet, s.Err)
	}
	return nil
}
