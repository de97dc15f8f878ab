package task

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/proto/task"
)

const patience = 30 * time.Second

func service(t *testing.T) (*Service, *int) {
	t.Helper()
	downs := new(int)
	return New(Config{Namespace: "ns", Log: log.Discard(), Shutdown: func() { *downs++ }}), downs
}

// hold puts a running container into s.
func hold(t *testing.T, s *Service) *container {
	t.Helper()
	c, _ := bare(t, true)
	c.over = s.lookQuiet
	become(t, c.init, process.Created, process.Starting, process.Running)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShutdownWaitsForTheLastContainer(t *testing.T) {
	s, downs := service(t)
	c := hold(t, s)
	shutdown := func(now bool) {
		t.Helper()
		if _, err := s.Shutdown(context.Background(), &task.ShutdownRequest{Id: "c", Now: now}); err != nil {
			t.Fatal(err)
		}
	}
	shutdown(false)
	if *downs != 0 {
		t.Fatal("the shim ended with a container")
	}
	s.forget(c)
	shutdown(false)
	shutdown(false)
	if *downs != 1 {
		t.Errorf("ended %d times", *downs)
	}
	if err := s.reserve(c); status.Code(err) != codes.Unavailable {
		t.Errorf("a container was taken by a shim that ends: %v", err)
	}
}

func TestShutdownAskedForWhileACreateWasUndoneIsNotForgotten(t *testing.T) {
	s, downs := service(t)
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Shutdown(context.Background(), &task.ShutdownRequest{Id: "c"}); err != nil {
		t.Fatal(err)
	}
	if *downs != 0 {
		t.Fatal("the shim ended while a container was made")
	}
	s.undone(c)
	if *downs != 1 {
		t.Errorf("ended %d times after the create was undone", *downs)
	}
}

func TestShutdownNowDoesNotWait(t *testing.T) {
	s, downs := service(t)
	hold(t, s)
	if _, err := s.Shutdown(context.Background(), &task.ShutdownRequest{Id: "c", Now: true}); err != nil {
		t.Fatal(err)
	}
	if *downs != 1 {
		t.Errorf("ended %d times", *downs)
	}
}

func TestRetireWaitsUntilNoContainerRuns(t *testing.T) {
	s, _ := service(t)
	c := hold(t, s)
	done := make(chan struct{})
	go func() {
		s.Retire()
		close(done)
	}()
	for !s.retiring.Load() {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Fatal("retired with a running container")
	default:
	}
	ends(c, c.init, 0)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("did not retire though the container has ended")
	}
}

func TestContainerThatIsBeingMadeIsNotThereYet(t *testing.T) {
	s, _ := service(t)
	c, _ := bare(t, true)
	if err := s.reserve(c); err != nil {
		t.Fatal(err)
	}
	if _, err := s.State(context.Background(), &task.StateRequest{Id: "c"}); status.Code(err) != codes.NotFound {
		t.Errorf("state: %v", err)
	}
	if err := s.reserve(c); status.Code(err) != codes.AlreadyExists {
		t.Errorf("its id was taken twice: %v", err)
	}
}

func TestRequestsThatCanNeverWorkAreNamed(t *testing.T) {
	s, _ := service(t)
	hold(t, s)
	ctx := context.Background()
	for name, call := range map[string]func() error{
		"id with a slash": func() error {
			_, err := s.Create(ctx, &task.CreateTaskRequest{Id: "a/b", Bundle: "/x"})
			return err
		},
		"relative bundle": func() error {
			_, err := s.Create(ctx, &task.CreateTaskRequest{Id: "d", Bundle: "x"})
			return err
		},
		"exec without a spec": func() error {
			_, err := s.Exec(ctx, &task.ExecProcessRequest{Id: "c", ExecId: "e"})
			return err
		},
		"exec without an id": func() error {
			_, err := s.Exec(ctx, &task.ExecProcessRequest{Id: "c"})
			return err
		},
		"signal 65": func() error {
			_, err := s.Kill(ctx, &task.KillRequest{Id: "c", Signal: 65})
			return err
		},
		"terminal too large": func() error {
			_, err := s.ResizePty(ctx, &task.ResizePtyRequest{Id: "c", Width: 1 << 16})
			return err
		},
		"update without resources": func() error {
			_, err := s.Update(ctx, &task.UpdateTaskRequest{Id: "c"})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
}
