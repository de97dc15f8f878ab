package process

import "fmt"

// State is where a process is in its life. The order is that of the life.
type State uint8

const (
	Added    State = iota // known, nothing runs: an exec before Start, an init while it is made
	Created               // init waits for Start
	Starting              // Start is under way
	Running
	Pausing
	Paused
	Stopped
	Deleted
	states = iota
)

var names = [states]string{"added", "created", "starting", "running", "pausing", "paused", "stopped", "deleted"}

func (s State) String() string {
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// next says, for each state, which may follow it.
var next = [states][states]bool{
	Added:    {Created: true, Starting: true, Deleted: true},
	Created:  {Starting: true, Stopped: true, Deleted: true}, // Deleted: an init that was yet to be restored
	Starting: {Running: true, Stopped: true, Created: true},  // Created: the start of init failed and may be tried again
	Running:  {Pausing: true, Stopped: true},
	Pausing:  {Paused: true, Running: true, Stopped: true},
	Paused:   {Running: true, Stopped: true},
	Stopped:  {Deleted: true},
	Deleted:  {},
}

// CanBecome reports whether t may follow s.
func (s State) CanBecome(t State) bool {
	return int(s) < len(next) && int(t) < states && next[s][t]
}

// Settled reports whether no operation is under way that decides about the
// process's pid. An end that is learned of in another state is kept until it
// is settled, so that nobody hears of the end of what they do not know yet.
func (s State) Settled() bool {
	return s != Added && s != Starting
}
