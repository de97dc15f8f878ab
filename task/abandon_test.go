package task

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// after plays that nothing has happened for the limit.
func (t *idleTimer) after() {
	t.due = time.Now()
	t.timer.Reset(0)
}

func abandoning(t *testing.T) (*Service, chan struct{}) {
	t.Helper()
	down := make(chan struct{})
	s := New(Config{Namespace: "ns", Idle: time.Hour, Shutdown: func() { close(down) }})
	t.Cleanup(s.idle.busy)
	return s, down
}

func TestShimThatNeverGotAContainerEnds(t *testing.T) {
	s, down := abandoning(t)
	s.idle.after()
	select {
	case <-down:
	case <-time.After(patience):
		t.Fatal("it stays")
	}
	c, _ := bare(t, true)
	if err := s.reserve(c); err == nil {
		t.Error("a container was taken by a shim that ends")
	}
}

func TestShimWithAContainerIsNotAbandoned(t *testing.T) {
	s, down := abandoning(t)
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	if s.idle.timer.Stop() {
		t.Error("the time runs with a container there")
	}
	s.abandon() // as if it had fired in this moment
	select {
	case <-down:
		t.Fatal("ended with a container")
	default:
	}
	s.forget(c)
	if !s.idle.timer.Stop() {
		t.Error("the time does not run after the last container")
	}
}

// `start` for the next container of the group may come when the time is all but
// over.
func TestWhoAsksForAShimWithoutAContainerHasTheWholeTimeAgain(t *testing.T) {
	s, _ := abandoning(t)
	s.idle.timer.Stop() // as if it were about to fire
	if _, err := s.Connect(context.Background(), &task.ConnectRequest{Id: "next"}); err != nil {
		t.Fatal(err)
	}
	if !s.idle.timer.Stop() {
		t.Error("the time does not run anew")
	}
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Connect(context.Background(), &task.ConnectRequest{Id: "c"}); err != nil {
		t.Fatal(err)
	}
	if s.idle.timer.Stop() {
		t.Error("the time runs with a container there")
	}
}

// The timer has fired and waits for the lock that Connect holds.
func TestWhoAsksInTheMomentOfTheEndHasTheWholeTimeAgain(t *testing.T) {
	s, down := abandoning(t)
	s.idle.timer.Stop()
	s.idle.due = time.Now()
	if _, err := s.Connect(context.Background(), &task.ConnectRequest{Id: "next"}); err != nil {
		t.Fatal(err)
	}
	s.abandon()
	select {
	case <-down:
		t.Fatal("it told that it is there, and ended")
	default:
	}
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Error(err)
	}
}
