package task

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// fakeDaemon takes events, or does not. Its modes: "" takes them; "away" cannot
// be reached; "stalls" has the connection and does not answer; "forgets" takes
// them and its answer is lost.
type fakeDaemon struct {
	mu      sync.Mutex // guards everything below
	mode    string
	changed chan struct{} // closed when mode changes
	took    []string
	tries   int // how often Send was called
}

func (d *fakeDaemon) become(mode string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mode = mode
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *fakeDaemon) Send(ctx context.Context, e *types.Envelope) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries++
	for d.mode == "stalls" {
		changed := d.changed
		d.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if d.mode == "away" {
		return errors.New("connection refused")
	}
	line, err := eventLine(e)
	if err != nil {
		return err
	}
	d.took = append(d.took, line)
	if d.mode == "forgets" {
		return errors.New("connection reset by peer")
	}
	return nil
}

func (d *fakeDaemon) Close() error { return nil }

// eventLine is an event in words: "create c1", "exit c1 e1 3".
func eventLine(e *types.Envelope) (string, error) {
	topic := strings.TrimPrefix(e.Topic, "/tasks/")
	m := map[string]proto.Message{
		"create": new(events.TaskCreate), "start": new(events.TaskStart), "oom": new(events.TaskOOM),
		"exit": new(events.TaskExit), "delete": new(events.TaskDelete), "exec-added": new(events.TaskExecAdded),
		"exec-started": new(events.TaskExecStarted), "paused": new(events.TaskPaused), "resumed": new(events.TaskResumed),
		"checkpointed": new(events.TaskCheckpointed),
	}[topic]
	if m == nil {
		return "", fmt.Errorf("an event of topic %q", e.Topic)
	}
	if err := proto.Unpack(e.Event, m); err != nil {
		return "", err
	}
	return messageLine(topic, m), nil
}

func messageLine(topic string, m proto.Message) string {
	switch m := m.(type) {
	case *events.TaskCreate:
		return words(topic, m.ContainerId)
	case *events.TaskStart:
		return words(topic, m.ContainerId)
	case *events.TaskOOM:
		return words(topic, m.ContainerId)
	case *events.TaskExit:
		id := m.Id
		if id == m.ContainerId {
			id = ""
		}
		return words(topic, m.ContainerId, id, fmt.Sprint(m.ExitStatus))
	case *events.TaskDelete:
		return words(topic, m.ContainerId, fmt.Sprint(m.ExitStatus))
	case *events.TaskExecAdded:
		return words(topic, m.ContainerId, m.ExecId)
	case *events.TaskExecStarted:
		return words(topic, m.ContainerId, m.ExecId)
	case *events.TaskPaused:
		return words(topic, m.ContainerId)
	case *events.TaskResumed:
		return words(topic, m.ContainerId)
	case *events.TaskCheckpointed:
		return words(topic, m.ContainerId)
	}
	return fmt.Sprintf("%s %T", topic, m)
}
