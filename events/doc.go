// Package events carries what happened to containerd: one ordered queue that
// loses nothing, emptied by one goroutine.
//
// Publishing never waits, whatever containerd does: it may be away, take the
// connection and not answer, answer with an error, break off in the middle. An
// event is taken off the queue when the daemon has answered for it and not
// before, so each arrives at least once, in the order in which it happened. It
// arrives a second time only if the answer was lost, or came later than we
// waited; the copy is the same to the byte, with the same time, and nothing else
// comes in between. Which of two things happened to a request without an answer
// nobody can know from here, and an exit too many does less harm than one that is
// missing. An answer of InvalidArgument is one: the daemon has seen the event and
// will never take it.
//
// The queue is bounded by what may be published, not by dropping. While the
// daemon is away nobody asks for anything, so nothing new begins: what is still to
// come is at most one exit for each process there is, and for each container one
// resumed, and OOM kills, of which there may be any number and which are therefore
// published once while they wait ([Queue.PublishOnce]). A daemon that takes no
// events and goes on asking (for probes, say) would be another matter: when [Limit]
// events wait the queue is [Queue.Full], and package task begins nothing new then.
// A waiting exit with CRI's long names takes some 270 bytes, so that Limit of them
// take 9 MB; what is beyond is bounded by the processes that are alive, each of
// which costs the shim more than its events do.
//
// An attempt has 10 s, and twice as long after each that ran out, up to 5 minutes:
// each may become a copy of the event for a daemon that is only stopped. One that
// is gone fails at once and is looked for after 20 ms, 40 ms, … at most a second.
//
// The package knows neither containers nor what an event means.
package events
