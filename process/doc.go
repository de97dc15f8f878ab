// Package process is one process of a container, its init or an exec: the
// states it may be in, as data, and what the runtime has to do to bring it
// from one to the next.
//
// The state of a [Process] is guarded by its container's lock, which the
// callers hold (package task). Whatever takes time (a run of the runtime, the
// end of the stdio) is done by functions that touch no state: the caller
// enters the operation slot of the process, does it without the lock, and
// writes down under the lock what came of it. So a runtime that hangs holds up
// the operations on one process and nothing else.
//
// The package publishes no events and knows nothing of other processes.
package process
