package events

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// player is a Sender that does as it is told.
type player struct {
	mu    sync.Mutex // guards everything below
	send  func(context.Context) error
	took  []string // topics
	tries int
}

func (p *player) Send(ctx context.Context, e *types.Envelope) error {
	p.mu.Lock()
	p.tries++
	send := p.send
	p.mu.Unlock()
	if send != nil {
		if err := send(ctx); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.took = append(p.took, e.Topic)
	p.mu.Unlock()
	return nil
}

func (p *player) Close() error { return nil }

func (p *player) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

func (p *player) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

func (p *player) become(send func(context.Context) error) {
	p.mu.Lock()
	p.send = send
	p.mu.Unlock()
}

func away(context.Context) error { return errors.New("connection refused") }

// stopped has the connection and never answers.
func stopped(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func exitOf(n int) *events.TaskExit {
	id := strings.Repeat("f", 64) // as long as CRI's
	return &events.TaskExit{ContainerId: id, Id: id, Pid: uint32(n), ExitStatus: 137}
}

func TestAnEventThatMayComeAnyNumberOfTimesWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(player)
		p.become(away)
		q := New("ns", p, log.Discard())
		defer q.Close()
		oom := func(id string) { q.PublishOnce("/tasks/oom", &events.TaskOOM{ContainerId: id}) }
		oom("c1")
		synctest.Wait() // its first try has failed
		for range 1000 {
			oom("c1")
			oom("c2")
		}
		// One that was tried may have been heard: it says nothing of what came after.
		if n := q.Len(); n != 3 {
			t.Errorf("%d events wait, want 3", n)
		}
		q.Publish("/tasks/exit", exitOf(1))
		p.become(nil)
		time.Sleep(retryMost)
		synctest.Wait()
		oom("c2") // the next one is news again
		synctest.Wait()
		if got := strings.Join(p.told(), " "); got != "/tasks/oom /tasks/oom /tasks/oom /tasks/exit /tasks/oom" {
			t.Errorf("told %s", got)
		}
		if q.once != nil {
			t.Errorf("what waited once is still remembered: %d", len(q.once))
		}
	})
}

func TestAFullQueueSaysSoAndTakesMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(player)
		p.become(away)
		q := New("ns", p, log.Discard())
		defer q.Close()
		for i := range Limit {
			if q.Full() {
				t.Fatalf("full with %d", i)
			}
			q.Publish("/tasks/exit", exitOf(i))
		}
		if !q.Full() {
			t.Error("not full at the limit")
		}
		q.Publish("/tasks/exit", exitOf(Limit))
		p.become(nil)
		time.Sleep(retryMost)
		synctest.Wait()
		if q.Full() || len(p.told()) != Limit+1 {
			t.Errorf("%d events came, full: %v", len(p.told()), q.Full())
		}
	})
}

// A waiting event is small: the figure that the package's comment gives.
func TestWhatAWaitingEventTakes(t *testing.T) {
	const many, each = 100_000, 450
	p := new(player)
	p.become(away)
	q := New("k8s.io", p, log.Discard())
	defer q.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range many {
		q.Publish("/tasks/exit", exitOf(i))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if q.Len() != many {
		t.Fatalf("%d wait", q.Len())
	}
	got := (after.HeapAlloc - before.HeapAlloc) / many
	t.Logf("%d bytes each", got)
	if got > each {
		t.Errorf("a waiting exit takes %d bytes, want at most %d", got, each)
	}
}

// Each try may be one more copy for a daemon that is only stopped: a night must not
// be thousands of them.
func TestADaemonThatIsStoppedIsTriedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(player)
		p.become(stopped)
		q := New("ns", p, log.Discard())
		defer q.Close()
		q.Publish("/tasks/exit", exitOf(1))
		time.Sleep(10 * time.Minute)
		if n := p.tried(); n < 2 || n > 7 {
			t.Errorf("%d tries in ten minutes", n)
		}
		time.Sleep(10 * time.Hour)
		if n := p.tried(); n > 140 {
			t.Errorf("%d tries in ten hours", n)
		}
		p.become(nil)
		time.Sleep(sendMost + retryMost)
		synctest.Wait()
		if len(p.told()) != 1 {
			t.Errorf("told %q", p.told())
		}
	})
}

// A daemon that is not there at all is looked for every second: it is back the
// sooner, and there is nobody to get a copy.
func TestADaemonThatIsAwayIsFoundWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := new(player)
		q := New("ns", p, log.Discard())
		defer q.Close()
		for i, absence := range []time.Duration{10 * time.Minute, 10*time.Minute + 3*time.Second, 10*time.Minute + 7*time.Second} {
			p.become(away)
			q.Publish("/tasks/exit", exitOf(i))
			time.Sleep(absence)
			p.become(nil)
			time.Sleep(time.Second)
			synctest.Wait()
			if len(p.told()) != i+1 {
				t.Errorf("a second after its return from %v the daemon was not told", absence)
			}
		}
	})
}
