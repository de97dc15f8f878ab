package tests

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// soon has shims end that hold no container, as soon as a test can wait for it.
var soon = harness.Env("HOLDFAST_IDLE_TIMEOUT=1s")

// containerd 6860, in each of the ways in which a shim comes to have no owner and
// no container. What is said of them is: the shim ends by itself, and nothing is
// left but the bundle, which is the daemon's.
func TestAShimWithoutAContainerWhoseDaemonIsGoneEndsByItself(t *testing.T) {
	for _, tt := range []struct {
		name       string
		call, hold string // the step at which the daemon goes away
		then       func(*scene)
	}{
		{"never called", "", "nothing", (*scene).hangUp},
		{"connected to, and not called", "", "nothing", func(*scene) {}},
		{"in mid-create, before the runtime", "create", "before create", (*scene).hangUp},
		{"in mid-create, in the runtime", "create", "within create", (*scene).hangUp},
		{"in mid-create, after the runtime", "create", "after create", (*scene).hangUp},
		{"in mid-create, before the logger is ready", "create", "logger", (*scene).hangUp},
		{"after the last delete", "delete", "nothing", (*scene).hangUp},
		{"after the last delete, whose event nobody takes", "delete", "tells delete", func(s *scene) {
			s.hangUp()
			if err := s.Events.Crash(); err != nil {
				s.t.Log(err) // what is torn does not close nicely
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, tt.call, tt.hold, soon)
			s.play()
			tt.then(s)
			if err := s.held.Wait(s.Ctx()); err != nil {
				t.Fatalf("the shim stays: %v", err)
			}
			s.stub.Touch("go")
			s.Eventually("nothing is left", func() error {
				if left := s.left(); len(left) > 0 {
					return fmt.Errorf("left: %q", left)
				}
				return nil
			})
			if err := s.bundle.Delete(); err != nil {
				t.Error(err)
			}
		})
	}
}

// hangUp is what the shim sees of its daemon's death.
func (s *scene) hangUp() {
	s.t.Helper()
	if err := s.shim.Close(); err != nil {
		s.t.Error(err)
	}
}

// The group's shim was started for a container that came to nothing.
func TestTheShimOfAGroupWhoseFirstContainerFailedEnds(t *testing.T) {
	d := harness.New(t, soon)
	first := groupShim(t, d, "first")
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {Error: "not this one", Exit: ptr(1)}})
	_, err := first.Task.Create(d.Ctx(), createOf(t, d, "first", stub))
	if err == nil || !strings.Contains(err.Error(), "not this one") {
		t.Fatalf("create: %v", err)
	}
	held, err := first.Hold(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	first.Close() // nobody asks it to shut down
	if err := held.Wait(d.Ctx()); err != nil {
		t.Errorf("the shim stays: %v", err)
	}
	if err := first.Bundle.Delete(); err != nil {
		t.Error(err)
	}
}

// But while the group has another it has to stay, and it ends after that.
func TestTheShimOfAGroupWhoseFirstContainerFailedStaysForTheSecond(t *testing.T) {
	d := harness.New(t, soon)
	first := groupShim(t, d, "first")
	held, err := first.Hold(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"create": {Times: 1, Error: "not this one", Exit: ptr(1)}})
	second := groupShim(t, d, "second")
	if second.Endpoint != first.Endpoint {
		t.Fatalf("two shims, at %v and %v", first.Endpoint, second.Endpoint)
	}
	if _, err := first.Task.Create(d.Ctx(), createOf(t, d, "first", stub)); err == nil {
		t.Fatal("created")
	}
	if _, err := second.Task.Create(d.Ctx(), createOf(t, d, "second", stub)); err != nil {
		t.Fatal(err)
	}
	first.Close()
	// It was to end after a second without a container.
	ctx, cancel := context.WithTimeout(d.Ctx(), 2*time.Second)
	defer cancel()
	if held.Wait(ctx) == nil {
		t.Fatal("the shim has ended with a container in it")
	}
	if _, err := second.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: "second"}); err != nil {
		t.Error(err)
	}
	second.Close()
	if err := held.Wait(d.Ctx()); err != nil {
		t.Errorf("the shim stays: %v", err)
	}
	for _, s := range []*client.Shim{first, second} {
		if err := s.Bundle.Delete(); err != nil {
			t.Error(err)
		}
	}
}

// groupShim starts the shim of a group for a container, or finds it.
func groupShim(t *testing.T, d *harness.Daemon, id string) *client.Shim {
	t.Helper()
	spec := client.DefaultSpec(d.Namespace, id, "sleep", "100000")
	spec.Annotate(client.SandboxAnnotation, "first")
	config, err := spec.JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle(id, config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Start(d.Ctx(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// A shim that has something to tell of a container that it still holds stays,
// however long nobody comes.
func TestAShimWithAStoppedContainerStaysForItsDaemon(t *testing.T) {
	d := harness.New(t, soon)
	c := d.Run("sh", "-c", "exit 4")
	held := c.HoldShim()
	d.WaitEvent(c, "exit 4")
	d.Down()
	ctx, cancel := context.WithTimeout(d.Ctx(), 2*time.Second)
	defer cancel()
	if held.Wait(ctx) == nil {
		t.Fatal("the shim has ended with a container in it")
	}
	d.Up()
	if got := c.Delete(); got != 4 {
		t.Errorf("status %d", got)
	}
}
