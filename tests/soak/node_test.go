package soak

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// node is a machine in one round: a daemon that goes away and comes back, and
// what lives on it.
type node struct {
	*harness.Daemon
	t   *testing.T
	sum *summary

	mu     sync.Mutex // guards what is below, and the connection and stdio of every life
	up     chan struct{}
	isUp   bool
	lives  map[string]*life // that were not ended, by id
	killed map[int]bool     // shims that the chaos has killed, by pid
	stall  chan struct{}    // closed when the consumer of events goes on; nil if it does not stand still
	all    []*life
}

// actors run at the same time in a round; each lives several lives.
const (
	actors = 6
	lives  = 5
)

// idle is how long a shim stays without a container: one whose container came to
// nothing while the daemon was away has ended before the round looks for what is
// left.
const idle = 5 * time.Second

func playRound(t *testing.T, seed uint64, sum *summary) {
	rng := rand.New(rand.NewPCG(seed, 0))
	dialects := client.Dialects()
	dialect := dialects[rng.IntN(len(dialects))]
	n := &node{
		t: t, sum: sum,
		up: make(chan struct{}), isUp: true,
		lives: make(map[string]*life), killed: make(map[int]bool),
	}
	close(n.up)
	// After the daemon's last hour, in which what is left is found.
	t.Cleanup(n.tell)
	n.Daemon = harness.New(t,
		harness.Dialect(dialect),
		harness.Env("HOLDFAST_IDLE_TIMEOUT="+idle.String()),
		harness.Hook(n.consume))
	var acting sync.WaitGroup
	for i := range actors {
		acting.Go(func() {
			a := &actor{node: n, name: fmt.Sprintf("a%d", i), rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
			for j := range lives {
				if t.Failed() {
					return
				}
				a.live(j)
			}
		})
	}
	over := make(chan struct{})
	chaos := make(chan struct{})
	go func() {
		defer close(chaos)
		n.chaos(rand.New(rand.NewPCG(seed, 1<<32)), over)
	}()
	acting.Wait()
	close(over)
	<-chaos
	for _, l := range n.all {
		l.check()
	}
	sum.events.Add(int64(len(n.Events.All())))
}

// tell prints every life of a round that failed.
func (n *node) tell() {
	if !n.t.Failed() {
		return
	}
	for _, l := range n.all {
		n.t.Logf("%s (shim %d):\n    %s", l.id, l.shim, strings.Join(l.notes, "\n    "))
	}
}

// consume is the daemon's consumer of events, which may be made to stand still.
func (n *node) consume(ctx context.Context, _ client.Event) error {
	n.mu.Lock()
	stall := n.stall
	n.mu.Unlock()
	if stall == nil {
		return nil
	}
	select {
	case <-stall:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patience is a context that ends when something must have happened.
func (n *node) patience() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), harness.Patience,
		fmt.Errorf("not within %v", harness.Patience))
}

// away ends the daemon, orderly or as by SIGKILL: connections break, and nobody
// reads what the containers write.
func (n *node) away(crash bool) {
	n.mu.Lock()
	n.up, n.isUp = make(chan struct{}), false
	for _, l := range n.lives {
		l.detach()
	}
	n.mu.Unlock()
	var err error
	if crash {
		err = n.Events.Crash()
	} else {
		err = n.Events.Stop()
	}
	if err != nil && crash {
		n.t.Logf("crash: %v", err) // what a crash tears does not close nicely
	} else if err != nil {
		n.t.Errorf("stop: %v", err)
	}
}

func (n *node) back() {
	if err := n.Events.Start(); err != nil {
		n.t.Errorf("start: %v", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lives {
		l.attachOutputs()
	}
	n.isUp = true
	close(n.up)
	n.sum.restarts.Add(1)
}

// waitUp waits until the daemon is there.
func (n *node) waitUp() {
	n.mu.Lock()
	up := n.up
	n.mu.Unlock()
	<-up
}

func (n *node) wasKilled(shim int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killed[shim]
}

// stays is how long a daemon stays at least: a shim that was shut down gives up
// after 5 s, and asks once a second whether there is a daemon again.
const stays = 1500 * time.Millisecond

// chaos breaks one thing after the other until over.
func (n *node) chaos(rng *rand.Rand, over <-chan struct{}) {
	wait := func(d time.Duration) bool {
		select {
		case <-time.After(d):
			return true
		case <-over:
			return false
		}
	}
	sleep := func(most time.Duration) bool { return wait(time.Duration(rng.Int64N(int64(most)))) }
	struck := make(map[string]bool) // runtimes' calls that were struck, each at most once
	var back time.Time              // when the daemon came back
	for sleep(500 * time.Millisecond) {
		switch draw := rng.IntN(100); {
		case draw < 25:
			crash, pause := rng.IntN(2) == 0, rng.Int64N(int64(2*time.Second))
			wait(stays - time.Since(back))
			n.away(crash)
			wait(time.Duration(pause))
			n.back()
			back = time.Now()
		case draw < 50:
			if n.strikeRuntime(over, struck, rng.IntN(5), unix.SIGKILL) {
				n.sum.runtimesKilled.Add(1)
			}
		case draw < 60:
			nth, pause := rng.IntN(5), rng.Int64N(int64(time.Second))
			n.stopRuntime(over, struck, nth, time.Duration(pause))
		case draw < 75:
			n.killShim(rng.IntN(1 << 16))
		case draw < 90:
			n.sum.stalls.Add(1)
			stall := make(chan struct{})
			n.mu.Lock()
			n.stall = stall
			n.mu.Unlock()
			sleep(time.Second)
			n.mu.Lock()
			n.stall = nil
			n.mu.Unlock()
			close(stall)
		default:
			n.signalShim(rng.IntN(1<<16), []unix.Signal{unix.SIGUSR1, unix.SIGPIPE}[rng.IntN(2)])
		}
	}
}

// victim picks one of the lives that have a shim.
func (n *node) victim(draw int) *life {
	ids := slices.Sorted(maps.Keys(n.lives))
	ids = slices.DeleteFunc(ids, func(id string) bool { return n.lives[id].shim == 0 })
	if len(ids) == 0 {
		return nil
	}
	return n.lives[ids[draw%len(ids)]]
}

// killShim kills a shim with all that it holds.
func (n *node) killShim(draw int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.victim(draw)
	if l == nil || n.killed[l.shim] {
		return
	}
	h, err := client.HoldPid(l.shim)
	if err != nil {
		return // it ended with its last container
	}
	defer h.Close()
	if !isShim(l.shim, n.Dir) {
		return
	}
	n.killed[l.shim] = true
	if err := h.Signal(unix.SIGKILL); err != nil {
		n.t.Error(err)
	}
	n.sum.shimsKilled.Add(1)
}

func (n *node) signalShim(draw int, sig unix.Signal) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.victim(draw)
	if l == nil {
		return
	}
	if h, err := client.HoldPid(l.shim); err == nil {
		defer h.Close()
		if isShim(l.shim, n.Dir) {
			h.Signal(sig)
		}
	}
}

// isShim tells whether a process is a serving shim of the daemon in dir.
func isShim(pid int, dir string) bool {
	line := harness.Cmdline(pid)
	return strings.Contains(line, harness.ShimName) && strings.Contains(line, dir+"/") && !strings.HasSuffix(line, " delete")
}

// holdRuntime waits a moment for a run of the runtime and takes hold of it. Each
// verb of each container is struck once at most: what undoes the first blow must
// not be struck in turn. Nor is what `delete` runs, because a daemon calls that
// once.
func (n *node) holdRuntime(over <-chan struct{}, struck map[string]bool, nth int) *client.Hold {
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		for _, pid := range harness.Processes(n.Dir + "/") {
			args := strings.Fields(harness.Cmdline(pid))
			if len(args) < 3 || args[0] != "runc" {
				continue
			}
			call := args[len(args)-1]
			if !slices.Contains(args, "delete") || !slices.Contains(args, "--force") {
				if i := slices.IndexFunc(args, func(a string) bool { return verbs[a] }); i > 0 {
					call += " " + args[i]
				}
			} else {
				continue // it undoes something
			}
			if struck[call] {
				continue
			}
			if nth--; nth >= 0 {
				continue
			}
			h, err := client.HoldPid(pid)
			if err != nil {
				continue
			}
			if now := strings.Fields(harness.Cmdline(pid)); !slices.Equal(now, args) {
				h.Close()
				continue
			}
			struck[call] = true
			return h
		}
		select {
		case <-over:
			return nil
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

var verbs = map[string]bool{"create": true, "start": true, "exec": true, "delete": true, "pause": true, "resume": true}

func (n *node) strikeRuntime(over <-chan struct{}, struck map[string]bool, nth int, sig unix.Signal) bool {
	h := n.holdRuntime(over, struck, nth)
	if h == nil {
		return false
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil {
		n.t.Error(err)
	}
	return true
}

// stopRuntime holds a run of the runtime up for a while.
func (n *node) stopRuntime(over <-chan struct{}, struck map[string]bool, nth int, pause time.Duration) {
	h := n.holdRuntime(over, struck, nth)
	if h == nil {
		return
	}
	defer h.Close()
	n.sum.runtimesStopped.Add(1)
	if err := h.Signal(unix.SIGSTOP); err != nil {
		n.t.Error(err)
	}
	select {
	case <-time.After(pause):
	case <-over:
	}
	if err := h.Signal(unix.SIGCONT); err != nil {
		n.t.Error(err)
	}
}
