package runc

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// sentinel is an error that is a constant: neither it nor a table of them costs
// anything when the program starts.
type sentinel string

func (s sentinel) Error() string { return string(s) }

// What a failure of the runtime means. They say what the runtime found, not
// what a caller of the Task API is told: that depends on what it asked for.
const (
	// ErrNotFound: the runtime knows no such container.
	ErrNotFound sentinel = "container does not exist"
	// ErrExists: there is a container with this id already.
	ErrExists sentinel = "container already exists"
	// ErrNotRunning: the container's init has ended. runc says the same of a
	// paused container that is to be paused.
	ErrNotRunning sentinel = "container is not running"
	// ErrRunning: what was asked needs a container that is stopped, or one
	// that was not started yet.
	ErrRunning sentinel = "container is running"
	// ErrPaused: what was asked needs a container that is not paused.
	ErrPaused sentinel = "container is paused"
	// ErrNotPaused: the container to resume is not paused.
	ErrNotPaused sentinel = "container is not paused"
	// ErrInvalid: the runtime was given something that can never work: an
	// id, a configuration, a process, resources, a signal.
	ErrInvalid sentinel = "invalid request to the OCI runtime"
	// ErrUnsupported: the runtime has no such verb or flag, or a program
	// that it needs for it (criu) is not installed.
	ErrUnsupported sentinel = "not supported by the OCI runtime"
	// ErrDeadline: the runtime did not answer within its verb's deadline.
	ErrDeadline sentinel = "OCI runtime past its deadline"
	// ErrImage: what a container is to be restored from is no checkpoint.
	ErrImage sentinel = "not a checkpoint"
	// ErrNotDone: the runtime ended as if all were well, and what was asked of
	// it is not there.
	ErrNotDone sentinel = "the OCI runtime says that it is done, and is not"
	// ErrNoRuntime: the runtime's binary is missing or cannot be executed.
	ErrNoRuntime sentinel = "no OCI runtime"
)

// Error is the failure of one call of the runtime.
type Error struct {
	Runtime string // the binary's name, without directories
	Verb    string
	Message string // what the runtime said, or how it ended; valid UTF-8, at most some 16 KiB
	Status  uint32 // its exit code, or 128 + the signal that ended it; 0 if it never ended
	Log     string // criu's log of this call; "" if it wrote none
	Err     error  // leads to one of the package's sentinels or to the context's error; nil if the cause is not known
}

// Error is "runc kill: container not running". The runtime's words are not
// changed, but where they begin with what stands before them already, as runc's
// "runc create failed: …" does, they stand alone.
func (e *Error) Error() string {
	text, head := e.Message, e.Runtime+" "+e.Verb
	if len(text) <= len(head) || text[:len(head)] != head {
		text = head + ": " + text
	}
	if e.Log != "" {
		text += " (log file: " + e.Log + ")"
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// ending is how a runtime ended that said nothing: status as in reaper.Exit.
func ending(status uint32) string {
	if sig := signalOf(status); sig != 0 {
		return "killed by " + signalName(sig)
	}
	return fmt.Sprintf("exit status %d", status)
}

// signalOf is the signal that ended the runtime, 0 if it exited by itself.
// No runtime exits with a code in this range of its own accord when it runs
// detached.
func signalOf(status uint32) unix.Signal {
	if status > 128 && status <= 128+64 {
		return unix.Signal(status - 128)
	}
	return 0
}

func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", int(sig))
}
