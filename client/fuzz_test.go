package client

import (
	"testing"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// An envelope is an event of its topic's type, or an error.
func FuzzEnvelope(f *testing.F) {
	for topic, m := range map[string]proto.Message{
		TopicCreate: &events.TaskCreate{ContainerId: "c", Pid: 7}, TopicExit: &events.TaskExit{ContainerId: "c", Id: "e", ExitStatus: 3},
		TopicDelete: &events.TaskDelete{ContainerId: "c"}, TopicExecAdded: &events.TaskExecAdded{ContainerId: "c", ExecId: "e"},
	} {
		packed, err := proto.Pack(m)
		if err != nil {
			f.Fatal(err)
		}
		b, err := (&types.Envelope{Topic: topic, Namespace: "ns", Event: packed}).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("\x1a\x0c/tasks/start\x22\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var env types.Envelope
		if env.Unmarshal(b) != nil {
			return
		}
		e, err := decodeEnvelope(&env)
		if err != nil {
			if e.Message != nil || e.ContainerID != "" {
				t.Errorf("an event %v and an error: %v", e, err)
			}
			return
		}
		if e.Topic != env.Topic || e.Message == nil || !env.Event.Is(e.Message.TypeURL()) {
			t.Errorf("%v of %v", e, env)
		}
		_ = e.String()
	})
}
