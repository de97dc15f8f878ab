// Package stdio carries bytes in and out of a container's processes: fifos,
// pipes and ptys. It lives in the folder io; its name avoids the standard
// library's.
//
// A process without a terminal gets plain pipes; a goroutine per stream moves
// the bytes between pipe and fifo with splice(2) while there are any, and silent
// streams wait together in one epoll set. A process with a terminal gets a pty,
// whose master the runtime sends over a console socket.
//
// Both ends of every fifo are held here, so that a reader or writer that goes
// away and comes back is no event for the container: nothing ends, nothing
// breaks, and what the fifo holds is kept.
//
// The package never waits for a process and knows nothing of exits.
package stdio
