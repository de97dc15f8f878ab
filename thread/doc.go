// Package thread knows which of this process's threads may end.
//
// The Go runtime ends a thread when a goroutine returns that is locked to it. That is
// the way to be rid of a thread that was changed for good, or is not needed any more.
// But to the kernel threads are not alike: with the first one goes what the world
// sees in /proc/PID, and a child that is to die with its parent (PR_SET_PDEATHSIG, see
// prctl(2)) dies with the thread that forked it.
//
// So whoever forks such a child calls [Keep], and nobody ends threads but this package.
package thread
