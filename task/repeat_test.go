package task

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func deleteOf(s *Service, id, exec string) (*task.DeleteResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Delete(ctx, &task.DeleteRequest{Id: id, ExecId: exec})
}

func TestDeleteKeepsItsAnswerForWhoAsksAgain(t *testing.T) {
	s, _ := service(t)
	want := &task.DeleteResponse{Pid: 7, ExitStatus: 3}
	s.answers.keep("c", "", want)
	for range 2 {
		if got, err := deleteOf(s, "c", ""); err != nil || got != want {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if _, err := deleteOf(s, "c", "e"); status.Code(err) != codes.NotFound {
		t.Errorf("an exec got the answer of its container: %v", err)
	}
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	s.forget(c)
	if got, err := deleteOf(s, "c", ""); status.Code(err) != codes.NotFound {
		t.Errorf("the answer of an earlier life of the id was given: %+v, %v", got, err)
	}
}

func TestDeleteOfAnExecKeepsItsAnswer(t *testing.T) {
	s, _ := service(t)
	c := hold(t, s)
	e := c.add("e")
	become(t, e, process.Starting, process.Running)
	ends(c, e, 4)
	for range 2 {
		if got, err := deleteOf(s, "c", "e"); err != nil || got.ExitStatus != 4 {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if _, err := s.Exec(context.Background(), execOf("e")); err != nil {
		t.Fatal(err)
	}
	delete(c.execs, "e")
	if got, err := deleteOf(s, "c", "e"); status.Code(err) != codes.NotFound {
		t.Errorf("the answer of an earlier life of the id was given: %+v, %v", got, err)
	}
}

func TestAnswersThatAreKeptHaveABound(t *testing.T) {
	var d deletions
	for i := range 10 * maxKept {
		d.keep(fmt.Sprint(i), "", &task.DeleteResponse{ExitStatus: uint32(i)})
	}
	if len(d.kept) != maxKept {
		t.Errorf("%d are kept", len(d.kept))
	}
	if r := d.find(fmt.Sprint(10*maxKept-1), ""); r == nil || r.ExitStatus != 10*maxKept-1 {
		t.Errorf("the youngest is %+v", r)
	}
}

func await(t *testing.T, what string, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(patience):
		t.Fatalf("%s: it did not happen", what)
	}
}

// beingMade is a container whose Create is under way until it is given up.
func beingMade(t *testing.T, s *Service) (given chan struct{}, undo func()) {
	t.Helper()
	c, _ := bare(t, true)
	given = make(chan struct{}, 1)
	c.giveUp = func() { given <- struct{}{} }
	leave, err := c.init.Enter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	return given, func() {
		s.undone(c)
		leave()
	}
}

// containerd 11755: a client that gives up on Create calls Delete on the same
// connection, where nothing else tells the shim that it did.
func TestDeleteOfAContainerThatIsBeingMadeHasItUndone(t *testing.T) {
	s, _ := service(t)
	given, undo := beingMade(t, s)
	answered := make(chan error, 1)
	go func() {
		_, err := deleteOf(s, "c", "")
		answered <- err
	}()
	await(t, "the making is given up", given)
	select {
	case err := <-answered:
		t.Fatalf("answered before it was undone: %v", err)
	default:
	}
	undo()
	if err := <-answered; status.Code(err) != codes.NotFound {
		t.Errorf("answered %v", err)
	}
}

func TestShutdownInTheNameOfAContainerThatIsBeingMadeHasItUndone(t *testing.T) {
	s, downs := service(t)
	given, undo := beingMade(t, s)
	shutdown := func(id string) {
		t.Helper()
		if _, err := s.Shutdown(context.Background(), &task.ShutdownRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	shutdown("another")
	if len(given) != 0 {
		t.Error("it was given up in another's name")
	}
	shutdown("c")
	await(t, "the making is given up", given)
	undo()
	if *downs != 1 {
		t.Errorf("the shim ended %d times", *downs)
	}
}

func TestDeleteOfAnExecGivesNoContainerUp(t *testing.T) {
	s, _ := service(t)
	given, undo := beingMade(t, s)
	defer undo()
	if _, err := deleteOf(s, "c", "e"); status.Code(err) != codes.NotFound {
		t.Errorf("answered %v", err)
	}
	if len(given) != 0 {
		t.Error("the container was given up")
	}
}

func TestDeleteThatGivesUpWaitingDoesNotUndoTheUndoing(t *testing.T) {
	s, _ := service(t)
	given, undo := beingMade(t, s)
	defer undo()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-given
		cancel()
	}()
	if _, err := s.Delete(ctx, &task.DeleteRequest{Id: "c"}); status.Code(err) != codes.Canceled {
		t.Errorf("answered %v", err)
	}
	if s.Containers() != 1 {
		t.Error("the container is forgotten while it is undone")
	}
}

func execOf(id string) *task.ExecProcessRequest {
	return &task.ExecProcessRequest{Id: "c", ExecId: id, Spec: &wkt.Any{Value: []byte(`{"args":["true"],"cwd":"/"}`)}}
}
