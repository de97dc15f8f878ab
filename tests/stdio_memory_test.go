//go:build !race

// The race detector has a memory of its own.

package tests

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// An exec that idles on three fifos is a few structures to the shim: no buffer,
// no thread, and no goroutine either. The shim gives back what their starts
// took when it has been quiet for a while.
func TestFiftyIdleExecsOnFifosTakeLittleMoreThanOne(t *testing.T) {
	// 350,000 to 650,000 were measured; what a goroutine a stream costs is more
	// than twice that.
	const limit = 1_000_000
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	shim := c.HoldShim()
	var all []*client.Process
	add := func() {
		streams := client.Streams{Stdin: neverEnds{t}, Stdout: &harness.Output{}, Stderr: &harness.Output{}}
		p, err := c.Container.Exec(d.Ctx(), fmt.Sprint("x", len(all)), client.DefaultProcess("sleep", "1000"), streams)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Start(d.Ctx()); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	add()
	// A kubelet asks as much in some minutes. From its first garbage collections
	// the runtime keeps a quarter of a megabyte, whatever streams there are.
	for range 100 {
		if _, err := c.Container.State(d.Ctx()); err != nil {
			t.Fatal(err)
		}
	}
	one := anonymous(t, shim)
	for len(all) < 50 {
		add()
	}
	at := anonymous(t, shim) - one
	more, look := at, time.NewTicker(100*time.Millisecond)
	defer look.Stop()
	for ctx := d.Ctx(); more > limit; more = anonymous(t, shim) - one {
		select {
		case <-look.C:
			continue
		case <-ctx.Done():
			t.Errorf("fifty idle execs take %d bytes more than one, want at most %d", more, limit)
		}
		break
	}
	t.Logf("at once %d bytes more than with one exec, then %d", at, more)
	for _, p := range all {
		if err := p.Kill(d.Ctx(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Wait(d.Ctx()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Delete(d.Ctx()); err != nil {
			t.Fatal(err)
		}
	}
	c.Finish()
}
