package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// The topics of events.
const (
	TopicCreate       = "/tasks/create"
	TopicStart        = "/tasks/start"
	TopicOOM          = "/tasks/oom"
	TopicExit         = "/tasks/exit"
	TopicDelete       = "/tasks/delete"
	TopicExecAdded    = "/tasks/exec-added"
	TopicExecStarted  = "/tasks/exec-started"
	TopicPaused       = "/tasks/paused"
	TopicResumed      = "/tasks/resumed"
	TopicCheckpointed = "/tasks/checkpointed"
)

// Event is one event as it arrived. Message is a pointer to the message of
// package proto/events that belongs to the topic; the fields before it are what
// most of those have, zero where the message lacks it.
type Event struct {
	Arrived     time.Time // by our clock
	Life        int       // which life of the listener it came to: 1, 2, …
	Time        time.Time // by the shim's envelope
	Namespace   string
	Topic       string
	ContainerID string
	// ExecID is empty for the container's init. In TaskExit init goes by the
	// container's id.
	ExecID     string
	Pid        uint32
	ExitStatus uint32
	Message    proto.Message
}

// String is one line for a person: when, what, who, and what came of it.
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s id=%s", e.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), e.Topic, e.ContainerID)
	if e.ExecID != "" {
		fmt.Fprintf(&b, " exec=%s", e.ExecID)
	}
	if e.Pid != 0 {
		fmt.Fprintf(&b, " pid=%d", e.Pid)
	}
	switch e.Message.(type) {
	case *events.TaskExit, *events.TaskDelete:
		fmt.Fprintf(&b, " status=%d", e.ExitStatus)
	}
	return b.String()
}

// decodeEnvelope fails when the topic and the type of the event do not belong
// together: no daemon could use such an event.
func decodeEnvelope(env *types.Envelope) (Event, error) {
	if env == nil || env.Event == nil {
		return Event{}, errors.New("decode event: no event in the envelope")
	}
	e := Event{Namespace: env.Namespace, Topic: env.Topic}
	if env.Timestamp != nil {
		e.Time = env.Timestamp.AsTime()
	}
	decode := func(m proto.Message) error {
		e.Message = m
		return proto.Unpack(env.Event, m)
	}
	var err error
	switch env.Topic {
	case TopicCreate:
		var m events.TaskCreate
		err = decode(&m)
		e.ContainerID, e.Pid = m.ContainerId, m.Pid
	case TopicStart:
		var m events.TaskStart
		err = decode(&m)
		e.ContainerID, e.Pid = m.ContainerId, m.Pid
	case TopicOOM:
		var m events.TaskOOM
		err = decode(&m)
		e.ContainerID = m.ContainerId
	case TopicExit:
		var m events.TaskExit
		err = decode(&m)
		e.ContainerID, e.Pid, e.ExitStatus = m.ContainerId, m.Pid, m.ExitStatus
		if m.Id != m.ContainerId {
			e.ExecID = m.Id
		}
	case TopicDelete:
		var m events.TaskDelete
		err = decode(&m)
		e.ContainerID, e.Pid, e.ExitStatus = m.ContainerId, m.Pid, m.ExitStatus
		// Some shims leave init's id out here.
		if m.Id != "" && m.Id != m.ContainerId {
			e.ExecID = m.Id
		}
	case TopicExecAdded:
		var m events.TaskExecAdded
		err = decode(&m)
		e.ContainerID, e.ExecID = m.ContainerId, m.ExecId
	case TopicExecStarted:
		var m events.TaskExecStarted
		err = decode(&m)
		e.ContainerID, e.ExecID, e.Pid = m.ContainerId, m.ExecId, m.Pid
	case TopicPaused:
		var m events.TaskPaused
		err = decode(&m)
		e.ContainerID = m.ContainerId
	case TopicResumed:
		var m events.TaskResumed
		err = decode(&m)
		e.ContainerID = m.ContainerId
	case TopicCheckpointed:
		var m events.TaskCheckpointed
		err = decode(&m)
		e.ContainerID = m.ContainerId
	default:
		err = errors.New("unknown topic")
	}
	if err != nil {
		return Event{}, fmt.Errorf("decode event %s: %w", env.Topic, err)
	}
	return e, nil
}
