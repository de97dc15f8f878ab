package soak

import (
	"fmt"
	"sync/atomic"
	"time"
)

// summary counts what happened in all rounds.
type summary struct {
	begun time.Time

	rounds, containers, execs, events, ooms atomic.Int64
	exits, exitsLost                        atomic.Int64 // of started processes whose shim lived; those never told
	restarts, stalls                        atomic.Int64 // of the daemon, of its consumer of events
	shimsKilled, runtimesKilled             atomic.Int64
	runtimesStopped, givenUp                atomic.Int64 // for a while; calls by their client
	deletes, known                          atomic.Int64 // after a shim's death; those that told a recorded status
}

func (s *summary) String() string {
	return fmt.Sprintf(`soak: %v, %d rounds
  containers %d, execs %d, events %d, kills for want of memory %d
  daemon restarts %d, stalls of its consumer %d, calls given up %d
  shims killed %d, runtimes killed %d, runtimes stopped for a while %d
  deletes after a shim's death %d, of which %d told a recorded status
  exits %d, exits lost: %d`,
		time.Since(s.begun).Round(time.Second), s.rounds.Load(),
		s.containers.Load(), s.execs.Load(), s.events.Load(), s.ooms.Load(),
		s.restarts.Load(), s.stalls.Load(), s.givenUp.Load(),
		s.shimsKilled.Load(), s.runtimesKilled.Load(), s.runtimesStopped.Load(),
		s.deletes.Load(), s.known.Load(),
		s.exits.Load(), s.exitsLost.Load())
}
