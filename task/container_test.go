package task

import (
	"fmt"
	"strings"
	"testing"
	"time"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/reaper"
)

// story collects events as words.
type story struct{ words []string }

func (s *story) Publish(topic string, event proto.Message) {
	word := strings.TrimPrefix(topic, "/tasks/")
	if e, ok := event.(*events.TaskExit); ok {
		word = fmt.Sprintf("exit %s %d", e.Id, e.ExitStatus)
	}
	s.words = append(s.words, word)
}

func (s *story) PublishOnce(topic string, event proto.Message) { s.Publish(topic, event) }

func (s *story) Full() bool { return false }

// bare is a container without a runtime, to play the order of ends on.
func bare(t *testing.T, own bool) (*container, *story) {
	t.Helper()
	told := new(story)
	c := &container{
		id:      "c",
		bundle:  t.TempDir(),
		events:  told,
		log:     log.Discard(),
		private: own,
		over:    func() {},
		giveUp:  func() {},
		init:    process.New("c", true, stdio.Paths{}),
		execs:   make(map[string]*exec),
		streams: make(map[*stdio.Streams]struct{}),
	}
	return c, told
}

func (c *container) add(id string) *process.Process {
	p := process.New(id, false, stdio.Paths{})
	c.execs[id] = &exec{Process: p}
	return p
}

func become(t *testing.T, p *process.Process, states ...process.State) {
	t.Helper()
	for _, s := range states {
		if err := p.To(s); err != nil {
			t.Fatal(err)
		}
	}
}

func ends(c *container, p *process.Process, status uint32) {
	c.exited(p, reaper.Exit{Pid: 1, Status: status, At: time.Now()})
}

func (s *story) is(t *testing.T, want ...string) {
	t.Helper()
	if strings.Join(s.words, ", ") != strings.Join(want, ", ") {
		t.Errorf("told %q, want %q", s.words, want)
	}
}

func TestExitThatOutrunsTheStartIsToldAfterIt(t *testing.T) {
	c, told := bare(t, true)
	become(t, c.init, process.Created, process.Starting)
	ends(c, c.init, 7)
	told.is(t)
	become(t, c.init, process.Running)
	c.settle(c.init)
	told.is(t, "exit c 7")
	if c.init.State() != process.Stopped {
		t.Errorf("init is %s", c.init.State())
	}
}

func TestExitOfAnInitThatIsStillMadeIsToldAfterItsCreation(t *testing.T) {
	c, told := bare(t, true)
	ends(c, c.init, 137)
	told.is(t)
	become(t, c.init, process.Created)
	c.settle(c.init)
	told.is(t, "exit c 137")
}

func TestExitOfInitIsToldAfterThoseOfItsExecs(t *testing.T) {
	c, told := bare(t, true)
	become(t, c.init, process.Created, process.Starting, process.Running)
	e1, e2, added := c.add("e1"), c.add("e2"), c.add("never started")
	become(t, e1, process.Starting, process.Running)
	become(t, e2, process.Starting) // its start is still under way
	ends(c, c.init, 1)
	told.is(t)
	ends(c, e1, 2)
	told.is(t, "exit e1 2")
	ends(c, e2, 3)
	told.is(t, "exit e1 2")
	become(t, e2, process.Running)
	c.settle(e2)
	told.is(t, "exit e1 2", "exit e2 3", "exit c 1")
	if added.State() != process.Added {
		t.Errorf("an exec that was never started is %s", added.State())
	}
}

func TestStartThatIsUnderWayIsGivenUpWhenInitEnds(t *testing.T) {
	c, _ := bare(t, true)
	become(t, c.init, process.Created, process.Starting, process.Running)
	e := c.add("e")
	become(t, e, process.Starting)
	given := false
	c.execs["e"].cancel = func() { given = true }
	ends(c, c.init, 1)
	if !given {
		t.Error("the start of an exec goes on in a container that is over")
	}
}

func TestEachExitIsToldOnce(t *testing.T) {
	c, told := bare(t, true)
	become(t, c.init, process.Created, process.Starting, process.Running)
	ends(c, c.init, 5)
	ends(c, c.init, 6)
	c.settle(c.init)
	told.is(t, "exit c 5")
	if got := c.init.Exit().Status; got != 5 {
		t.Errorf("the status became %d", got)
	}
}

func TestEndOfInitIsRecordedInTheBundle(t *testing.T) {
	c, _ := bare(t, true)
	become(t, c.init, process.Created, process.Starting, process.Running)
	ends(c, c.init, 3)
	rec := readRecord(t, c.bundle)
	if rec.Status != 3 || rec.Pid != 1 || rec.ExitedAt.IsZero() {
		t.Errorf("recorded %+v", rec)
	}
}
