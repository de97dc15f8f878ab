// Package task is the Task API: requests in, answers out, containers by id,
// and the order of the events.
//
// One lock per container guards its fields and those of its processes, and is
// never held over anything that can wait. Operations that must not overlap
// (create, start, pause, delete of one process) take the operation slot of
// that process, waiting with the request's context; State, Wait, Kill, Pids and
// Connect never take it, so that they answer whatever the runtime does.
//
// An exit comes from the reaper straight into [container.exited], which takes
// the lock, writes it down and queues the event: no program, no wait. An exit
// that outruns its start, or init's exit that outruns those of its execs, is
// held back until the other was told (container.settle).
//
// The package knows nothing of sockets and processes' bytes; it ends the shim
// through the function it is given.
package task
