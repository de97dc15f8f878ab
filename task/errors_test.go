package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/runc"
)

func readRecord(t *testing.T, dir string) bundle.ExitRecord {
	t.Helper()
	rec, err := bundle.ReadExitRecord(dir)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func TestEveryCauseHasItsCodeAndKeepsItsText(t *testing.T) {
	for _, c := range []struct {
		err  error
		want codes.Code
	}{
		{&runc.Error{Runtime: "runc", Verb: "start", Message: "no such thing", Err: runc.ErrNotFound}, codes.NotFound},
		{&runc.Error{Verb: "kill", Err: runc.ErrNotRunning}, codes.NotFound},
		{&runc.Error{Verb: "create", Err: runc.ErrExists}, codes.AlreadyExists},
		{&runc.Error{Verb: "create", Err: runc.ErrDeadline}, codes.Unavailable},
		{&runc.Error{Verb: "create", Message: "whatever"}, codes.Unknown},
		{process.ErrFinished, codes.NotFound},
		{process.ErrState, codes.FailedPrecondition},
		{bundle.ErrInvalidID, codes.InvalidArgument},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{&os.PathError{Op: "open", Path: "/x", Err: os.ErrNotExist}, codes.NotFound},
		{errors.New("something"), codes.Unknown},
		{status.Error(codes.Unavailable, "as it is"), codes.Unavailable},
	} {
		wrapped := fmt.Errorf("do it: %w", c.err)
		for _, err := range []error{c.err, wrapped} {
			got := answer(err)
			if status.Code(got) != c.want {
				t.Errorf("%v: %s, want %s", err, status.Code(got), c.want)
			}
		}
		if s, ok := status.FromError(c.err); !ok && status.Convert(answer(wrapped)).Message() != wrapped.Error() {
			t.Errorf("%v lost its text: %v, %v", wrapped, answer(wrapped), s)
		}
	}
	if answer(nil) != nil {
		t.Error("no error became one")
	}
}
