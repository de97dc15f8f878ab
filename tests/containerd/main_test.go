package containerd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig := <-signals
		fmt.Fprintln(os.Stderr, "ended by", sig)
		live.sweep()
		os.Exit(1)
	}()
	harness.Main(m)
}

// live are the daemons of the tests under way. A containerd does not end with
// the tests by itself, so one who interrupts them would be left with it.
var live daemons

type daemons struct {
	mu   sync.Mutex // guards what is below
	all  map[*daemon]bool
	over bool // the tests were interrupted
}

var errInterrupted = errors.New("the tests were interrupted")

func (l *daemons) add(d *daemon) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[*daemon]bool)
	}
	l.all[d] = true
}

func (l *daemons) remove(d *daemon) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, d)
}

// start starts a program of a test, unless the tests were interrupted.
func (l *daemons) start(cmd *exec.Cmd) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return errInterrupted
	}
	return cmd.Start()
}

// sweep ends and removes them all, for ever.
func (l *daemons) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	for d := range l.all {
		if err := d.sweep(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}
