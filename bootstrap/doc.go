// Package bootstrap is how containerd and the shim meet.
//
// It owns the shim's command line ([ParseFlags]) and what its faces other than
// serving do: [Start] makes a shim, or finds the one that serves the container's
// group, and tells containerd where it listens, in whichever of the three
// dialects containerd asked; [Delete] clears away what a dead shim left;
// [Info] says what the shim and its OCI runtime can do. For the serving face
// it owns the socket: its name, its permissions, who may connect, and its
// removal ([Listen]).
//
// Whatever cannot be done ends in one error for the caller to print as one line,
// and leaves nothing behind: no process, no socket, no file. Standard output
// gets the answer and nothing else, in one write.
//
// # Two starts at the same moment
//
// All that decides about a socket's path (is there a living shim, remove a
// dead one's socket, bind, listen) happens under flock(2) on the directory of
// sockets, for microseconds. No lock file is left, since the directory itself is
// locked, and the lock ends with its holder. So of any number of starts for one
// group one makes the shim, and the others find it.
//
// # A start that is killed
//
// containerd kills a start whose client goes away, and nobody calls `delete` then. So
// the shim comes first, with a socket that lies nowhere, and the socket's file second:
// from that moment on there are two who would remove it. The shim serves when start
// has written a byte to a pipe, after its answer; when the pipe ends without one, it
// removes what was made and ends.
//
// # What a shim inherits
//
// The out-of-memory score (the starter's parent's + 1, at most 1000), the shim's
// cgroup and the core-scheduling cookie are all given to the starting process
// itself, just before it makes the shim: what fails then needs no undoing, and
// there is no moment at which the shim, or a runtime it has begun to run, is
// without them. A score that is higher than wanted already and cannot be lowered,
// for want of CAP_SYS_RESOURCE, is left as it is: start has nowhere to report
// that to, and the shim is then only likelier to be killed than asked for.
//
// # What it never does
//
// It never serves the Task API, never writes a log, and never starts a container's
// process: the only programs it runs are the shim itself and, for Delete and Info,
// the OCI runtime.
package bootstrap
