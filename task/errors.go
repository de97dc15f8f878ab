package task

import (
	"context"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/cgroup"
	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/mount"
	"github.com/holdfast-shim/holdfast/process"
	"github.com/holdfast-shim/holdfast/runc"
)

// answers says what a caller of the Task API is told for each cause. The first
// that the error's chain holds counts, and the text stays whole: users read it.
var answers = [...]struct {
	cause error
	code  codes.Code
}{
	{process.ErrFinished, codes.NotFound},
	{runc.ErrNotFound, codes.NotFound},
	{runc.ErrNotRunning, codes.NotFound},
	{runc.ErrExists, codes.AlreadyExists},
	{process.ErrState, codes.FailedPrecondition},
	{runc.ErrRunning, codes.FailedPrecondition},
	{runc.ErrPaused, codes.FailedPrecondition},
	{runc.ErrNotPaused, codes.FailedPrecondition},
	{runc.ErrDeadline, codes.Unavailable},
	{runc.ErrNotDone, codes.Unavailable},
	{runc.ErrUnsupported, codes.Unimplemented},
	{runc.ErrInvalid, codes.InvalidArgument},
	{runc.ErrImage, codes.InvalidArgument},
	{runc.ErrNoRuntime, codes.NotFound},
	{stdio.ErrInvalid, codes.InvalidArgument},
	{stdio.ErrLogger, codes.FailedPrecondition},
	{cgroup.ErrGone, codes.NotFound},
	{mount.ErrOption, codes.InvalidArgument},
	{mount.ErrUnsupported, codes.Unimplemented},
	{bundle.ErrInvalidID, codes.InvalidArgument},
	{bundle.ErrConfig, codes.InvalidArgument},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
	{fs.ErrNotExist, codes.NotFound},
	// What the kernel says of names and options that are none.
	{unix.ENOTDIR, codes.InvalidArgument},
	{unix.EISDIR, codes.InvalidArgument},
	{unix.ELOOP, codes.InvalidArgument},
	{unix.ENAMETOOLONG, codes.InvalidArgument},
	{unix.ENODEV, codes.InvalidArgument}, // a filesystem that there is not
	{unix.EINVAL, codes.InvalidArgument},
}

// answer gives err the gRPC code of its cause.
func answer(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, a := range answers {
		if errors.Is(err, a.cause) {
			return status.Error(a.code, err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

func notFound(what, id string) error {
	return status.Errorf(codes.NotFound, "%s %q: not found", what, id)
}
