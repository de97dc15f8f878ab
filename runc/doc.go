// Package runc owns the OCI runtime's command line: the arguments of each
// verb, how long each may take, and what its failures mean.
//
// The runtime is runc, crun or anything that takes their arguments. It is a
// program that can hang, print more than anybody reads, die of a signal or
// leave a child holding its output. Whatever it does, a call
//
//   - ends by its verb's deadline ([Deadlines]) or by its context, with the
//     runtime's whole process group killed, and leaves no goroutine and no
//     descriptor behind;
//   - fails with an [*Error] that keeps the words the runtime said, for the
//     user, and leads to one of the package's sentinels, for the caller. The
//     words are matched against one table (texts.go) and nowhere else.
//
// Calls may overlap freely: no lock is held while the runtime runs, and what
// concurrent verbs say goes to log files of their own.
//
// The package never decides what a failure means for a container, never keeps
// a container's state, never opens a container's stdio and never adopts the
// processes that the runtime leaves behind: create, exec and restore leave one,
// and the caller must hold a reaper.Claim around them.
package runc
