// Package reaper owns the shim's children: it starts them, learns of each
// end through a pidfd and reaps them.
//
// The shim is a child subreaper, so two kinds of children come to it: the
// programs it starts itself (the OCI runtime, loggers) and the processes
// those leave behind (a container's init, execs, strays). A process is known
// here by its pidfd, never by its number alone: the number cannot be recycled
// while the zombie is unreaped, and a zombie is only reaped
//
//   - by its owner, when the pidfd says that the process has ended, or
//   - as nobody's, when every [Claim] that was open when the zombie was first
//     seen has ended, because only those could still name it as theirs.
//
// So there is no table of recent exits to overflow, no broadcast to subscribe
// to and no time after which an unclaimed exit is forgotten.
//
// The package never runs a program on the exit path, never waits for anything
// there, and knows nothing of containers.
package reaper
