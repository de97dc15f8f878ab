package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
)

// Story is a container's events as short lines, in order of arrival:
// "create", "start", "exit 3", "delete 3", and for an exec "exec-added x",
// "exec-started x", "exit x 0".
func (d *Daemon) Story(id string) []string {
	var story []string
	for _, e := range onceEach(d.Events.All()) {
		if e.ContainerID == id {
			story = append(story, line(e))
		}
	}
	return story
}

// answerLimit is how long a shim waits for the daemon to take an event before it
// sends it again (package events, sendFirst).
const answerLimit = 10 * time.Second

// onceEach leaves out an event that another life of the daemon had already: when
// a daemon goes away its last answer may be lost, and a shim that lost it can
// only send the event again. So it does when the answer is late, as on a machine that
// has no time for either of them.
func onceEach(all []client.Event) []client.Event {
	type key struct {
		time                   time.Time
		topic, container, exec string
	}
	first := make(map[key]int)
	var once []client.Event
	for _, e := range all {
		k := key{e.Time, e.Topic, e.ContainerID, e.ExecID}
		if life, seen := first[k]; seen && (life != e.Life || e.Arrived.Sub(e.Time) >= answerLimit) {
			continue
		}
		first[k] = e.Life
		once = append(once, e)
	}
	return once
}

func line(e client.Event) string {
	parts := []string{strings.TrimPrefix(e.Topic, "/tasks/")}
	if e.ExecID != "" {
		parts = append(parts, e.ExecID)
	}
	if e.Topic == client.TopicExit || e.Topic == client.TopicDelete {
		parts = append(parts, fmt.Sprint(e.ExitStatus))
	}
	return strings.Join(parts, " ")
}

// WantStory waits until as many events of the container have come as are wanted,
// and fails the test unless they are these, in this order. What comes later is
// not its matter.
func (d *Daemon) WantStory(c *Container, want ...string) {
	d.t.Helper()
	_, err := d.Events.Wait(d.Ctx(), func(client.Event) bool {
		return len(d.Story(c.ContainerID)) >= len(want)
	})
	got := d.Story(c.ContainerID)
	if !slices.Equal(got, want) {
		d.t.Fatalf("story of %s: %q, want %q (%v)", c.ContainerID, got, want, err)
	}
}

// WaitEvent waits for an event of the container, given as a line of its story.
func (d *Daemon) WaitEvent(c *Container, want string) client.Event {
	d.t.Helper()
	e, err := d.Events.Wait(d.Ctx(), func(e client.Event) bool {
		return e.ContainerID == c.ContainerID && line(e) == want
	})
	if err != nil {
		d.t.Fatalf("event %q of %s: %v; story: %q", want, c.ContainerID, err, d.Story(c.ContainerID))
	}
	return e
}

// WantCode fails the test unless err carries that gRPC status.
func (d *Daemon) WantCode(what string, err error, want codes.Code) {
	d.t.Helper()
	if got := client.Code(err); got != want {
		d.t.Errorf("%s: %v, want %v (%v)", what, got, want, err)
	}
}

// Eventually calls f again and again until it returns nil, and fails the test
// when that does not come to pass. It is for states that have no event.
func (d *Daemon) Eventually(what string, f func() error) {
	d.t.Helper()
	if err := eventually(d.Ctx(), f); err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

func isNotFound(err error) bool { return client.Code(err) == codes.NotFound }

// disorder lists what in a row of events the contract does not allow: for each
// process create, start, exit, delete come in that order, exit and delete once;
// for a container every exit of an exec comes before init's; and nothing comes
// after its delete. Events of a container that was made again under its old id
// start anew with create; cleaned are those whose shim was lost and whose last
// events a daemon makes up itself.
func disorder(events []client.Event, cleaned map[string]bool) []string {
	type process struct{ added, started, exited, deleted int }
	type container struct {
		init  process
		execs map[string]*process
	}
	var problems []string
	all := make(map[string]*container)
	for _, e := range events {
		bad := func(why string) {
			problems = append(problems, fmt.Sprintf("%s: %q %s", e.ContainerID, line(e), why))
		}
		c := all[e.ContainerID]
		if e.Topic == client.TopicCreate {
			if c != nil && c.init.deleted == 0 && !cleaned[e.ContainerID] {
				bad("of a container that is there")
			}
			all[e.ContainerID] = &container{init: process{added: 1}, execs: make(map[string]*process)}
			continue
		}
		if c == nil {
			bad("before create")
			continue
		}
		if c.init.deleted > 0 {
			bad("after the container's delete")
		}
		p := &c.init
		if e.ExecID != "" {
			if p = c.execs[e.ExecID]; p == nil {
				p = &process{}
				c.execs[e.ExecID] = p
			}
		}
		switch e.Topic {
		case client.TopicExecAdded:
			// An exec's id may be used again after its delete.
			if p.added > 0 && p.exited == 0 && p.started > 0 {
				bad("of an exec that runs")
			}
			*p = process{added: 1}
		case client.TopicStart, client.TopicExecStarted:
			if p.added == 0 {
				bad("before it was added")
			}
			if p.started++; p.started > 1 {
				bad("a second time")
			}
			if p.exited > 0 {
				bad("after exit")
			}
		case client.TopicOOM:
			if c.init.exited > 0 {
				bad("after init's exit")
			}
		case client.TopicExit:
			if p.exited++; p.exited > 1 {
				bad("a second time")
			}
			if p.started == 0 && e.ExecID != "" {
				bad("before start")
			}
			if e.ExecID != "" && c.init.exited > 0 {
				bad("after init's exit")
			}
		case client.TopicDelete:
			if p.deleted++; p.deleted > 1 {
				bad("a second time")
			}
			if p.started > 0 && p.exited == 0 {
				bad("before exit")
			}
		}
	}
	return problems
}

var errNotYet = errors.New("not yet")

func eventually(ctx context.Context, f func() error) error {
	tick := newTicker()
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
