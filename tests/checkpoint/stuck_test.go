package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// Of checkpoint and restore what tests.TestARuntimeMayFailInAnyVerbAndInAnyWay says of
// the other verbs: each failure names the verb, leaves things as they were, and
// everything else answers meanwhile.
func TestARuntimeMayFailInCheckpointAndRestoreInAnyWay(t *testing.T) {
	d := start(t)
	stub := d.Stub()
	one := 1
	ways := []struct {
		how   string
		fault harness.Fault
		code  codes.Code
	}{
		{"is killed", harness.Fault{Signal: 9}, codes.Unknown},
		{"answers garbage", harness.Fault{Stdout: "\x00}{", Log: "{\"level\":\n\x00", Exit: &one}, codes.Unknown},
		{"prints a mebibyte and fails", harness.Fault{Spew: 1 << 20, Exit: &one}, codes.Unknown},
		{"says that it is done", harness.Exits(0), codes.Unavailable},
	}
	fails := func(verb, how string, err error, code codes.Code) {
		t.Helper()
		d.WantCode(verb+" by a runtime that "+how, err, code)
		if err == nil || !strings.Contains(err.Error(), verb) {
			t.Errorf("%s by a runtime that %s: %v", verb, how, err)
		}
	}
	answers := func(c *harness.Container) {
		t.Helper()
		if _, err := c.State(d.Ctx()); err != nil {
			t.Errorf("state: %v", err)
		}
		if _, err := pidsOf(d, c); err != nil {
			t.Errorf("pids: %v", err)
		}
		if _, err := c.Shim.Task.Connect(d.Ctx(), &task.ConnectRequest{Id: c.ContainerID}); err != nil {
			t.Errorf("connect: %v", err)
		}
	}
	// slow has the runtime wait in the verb until everything else has answered.
	slow := func(verb string, c *harness.Container, call func() error) {
		t.Helper()
		stub.Set(map[string]harness.Fault{verb: {Mark: stub.File(verb), Until: stub.File(verb + "-go")}})
		done := make(chan error, 1)
		go func() { done <- call() }()
		stub.WaitFile(d, verb)
		answers(c)
		select {
		case err := <-done:
			t.Fatalf("%s did not wait for its runtime: %v", verb, err)
		default:
		}
		stub.Touch(verb + "-go")
		if err := <-done; err != nil {
			t.Fatalf("%s by a slow runtime: %v", verb, err)
		}
		stub.Set(nil)
	}

	c := d.CreateWant(harness.Want{Args: counting, Options: stub.Options()})
	c.Start()
	counted(t, d, c, 2)
	for i, way := range ways {
		stub.Set(map[string]harness.Fault{"checkpoint": way.fault})
		image := filepath.Join(d.Dir, fmt.Sprint("image-", i))
		fails("checkpoint", way.how, c.Checkpoint(d.Ctx(), image, nil), way.code)
		if _, err := os.Stat(image); !os.IsNotExist(err) {
			t.Errorf("a runtime that %s has left an image: %v", way.how, err)
		}
		counted(t, d, c, len(numbers(t, c.Out))+1)
	}
	image := filepath.Join(d.Dir, "image")
	slow("checkpoint", c, func() error {
		return c.Checkpoint(d.Ctx(), image, &runcopts.CheckpointOptions{Exit: true})
	})
	c.Delete()

	r := d.CreateWant(harness.Want{Args: counting, Options: stub.Options(), Checkpoint: image})
	for _, way := range ways {
		stub.Set(map[string]harness.Fault{"restore": way.fault})
		_, err := r.Container.Start(d.Ctx())
		fails("restore", way.how, err, way.code)
	}
	slow("restore", r, func() error {
		_, err := r.Container.Start(d.Ctx())
		return err
	})
	counted(t, d, r, 1)
	r.Finish()
}
