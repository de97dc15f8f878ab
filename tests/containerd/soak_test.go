package containerd

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
)

// The soak (package tests/soak) with a real containerd, which is killed and
// started again: as long as HOLDFAST_SOAK says, or one round without it. A round's
// decisions are drawn from its seed, the first of which may be HOLDFAST_SOAK_SEED.
func TestNoStatusIsLostUnderAContainerdThatIsKilledInTheMidstOfChaos(t *testing.T) {
	length, err := time.ParseDuration(or(os.Getenv("HOLDFAST_SOAK"), "0s"))
	if err != nil {
		t.Fatalf("HOLDFAST_SOAK: %v", err)
	}
	seed, err := strconv.ParseUint(or(os.Getenv("HOLDFAST_SOAK_SEED"), fmt.Sprint(time.Now().UnixNano())), 10, 64)
	if err != nil {
		t.Fatalf("HOLDFAST_SOAK_SEED: %v", err)
	}
	begun := time.Now()
	var sum soakSummary
	for end := begun.Add(length); ; seed++ {
		sum.rounds++
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := &soakRound{daemon: start(t, "HOLDFAST_IDLE_TIMEOUT=5s"), rng: rand.New(rand.NewPCG(seed, 0)), sum: &sum}
			r.play()
		})
		if !ok {
			t.Errorf("the same decisions again: HOLDFAST_SOAK_SEED=%d go test -run Chaos ./tests/containerd", seed)
			break
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Logf("soak under containerd: %v, %+v", time.Since(begun).Round(time.Second), sum)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

type soakSummary struct {
	rounds, containers, containerdKills, shimKills, statuses, statusesLost int
}

type soakRound struct {
	*daemon
	rng *rand.Rand
	sum *soakSummary

	number int // of containers so far
}

// soaked is a container that waits at a gate to end with its status.
type soaked struct {
	id     string
	status int
	gate   *gate
	shim   *client.Hold
	ended  bool // let through the gate
	lost   bool // its shim was killed before that
}

func (r *soakRound) play() {
	r.runProof()
	for range 3 {
		r.blow()
	}
	r.finish("proof")
	// Containerd gives `delete` 5 s, which a machine with much else to do may not
	// have, and calls it again when it is started.
	if left, err := os.ReadDir(r.bundle("")); err == nil && len(left) > 0 {
		r.down(syscall.SIGTERM)
		r.up()
	}
}

// runProof has one container that nothing happens to, which must be the same in
// the end.
func (r *soakRound) runProof() { r.run("proof", "sleep", "100000") }

// blow is one round of containers: some end while containerd is down, some lose
// their shims then, one is just being made.
func (r *soakRound) blow() {
	t := r.t
	t.Helper()
	var all []*soaked
	for range 2 + r.rng.IntN(3) {
		r.number++
		c := &soaked{id: fmt.Sprintf("c%d", r.number), status: 1 + r.rng.IntN(250), gate: r.gate()}
		c.shim = r.hold(r.runWith(c.gate.flags(), c.id, "sh", "-c", c.gate.script(fmt.Sprintf("exit %d", c.status))))
		all = append(all, c)
		r.sum.containers++
	}
	for _, c := range all {
		if want := r.rng.IntN(200); r.rng.IntN(2) == 0 {
			if s := r.exec(c.id, "before", "sh", "-c", fmt.Sprintf("exit %d", want)); s.code() != want {
				t.Errorf("exec in %s ended with %d, want %d: %s", c.id, s.code(), want, s.Err)
			}
		}
	}
	r.number++
	making := fmt.Sprintf("c%d", r.number)
	s := r.begin(r.runArgs([]string{"-d"}, making, "sleep", "100000")...)
	signal := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[r.rng.IntN(2)]
	time.Sleep(time.Duration(r.rng.Int64N(int64(400 * time.Millisecond))))
	r.down(signal)
	r.sum.containerdKills++
	<-s.ended // whatever came of it

	for _, c := range all {
		switch r.rng.IntN(4) {
		case 0: // still runs when containerd is back
		case 1:
			c.lost = true
			r.events.lost(c.id)
			c.shim.Signal(syscall.SIGKILL)
			r.ended("the shim of "+c.id, c.shim)
			r.sum.shimKills++
		default:
			c.ended = true
			c.gate.open()
		}
	}
	time.Sleep(time.Duration(r.rng.Int64N(int64(time.Second))))
	r.up()
	if _, ok := r.task(making); ok {
		r.ctr("task", "rm", "-f", making)
	}
	r.ctr("container", "rm", making)
	for _, c := range all {
		r.settle(c)
	}
}

// settle ends a container and checks what containerd knows of its end.
func (r *soakRound) settle(c *soaked) {
	t := r.t
	t.Helper()
	if c.lost {
		r.eventually("the task of a lost shim is gone", func() error {
			if task, ok := r.task(c.id); ok {
				return fmt.Errorf("%w: %s is %s", errNotYet, c.id, task.status)
			}
			return nil
		})
		r.must("container", "rm", c.id)
		return
	}
	if !c.ended {
		if want := r.rng.IntN(200); r.rng.IntN(2) == 0 {
			if s := r.exec(c.id, "after", "sh", "-c", fmt.Sprintf("exit %d", want)); s.code() != want {
				t.Errorf("exec in %s after the restart ended with %d, want %d: %s", c.id, s.code(), want, s.Err)
			}
		}
		c.gate.open()
	}
	r.stopped(c.id)
	s := r.ctr("task", "rm", c.id)
	r.sum.statuses++
	if want := fmt.Sprintf("exit with non-zero exit code %d", c.status); s.code() != 0 || !strings.Contains(s.Err.String(), want) {
		r.sum.statusesLost++
		t.Errorf("%s: exit code %d, %q; want it to say %q", s, s.code(), s.Err, want)
	}
	r.must("container", "rm", c.id)
}
