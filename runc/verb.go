package runc

import "time"

// verb is a command of the runtime.
type verb uint8

const (
	verbCreate verb = iota
	verbStart
	verbExec
	verbKill
	verbDelete
	verbState
	verbPause
	verbResume
	verbUpdate
	verbCheckpoint
	verbRestore
	verbFeatures
	verbCount
)

// verbs is what the verbs differ in.
var verbs = [verbCount]struct {
	name string

	// limit is the default deadline: far beyond what the verb takes on a
	// loaded node, near enough that a wedged runtime is noticed.
	limit time.Duration

	// serial says that the verb changes the container's init, so that the
	// caller never lets two such verbs overlap: they share the bundle's
	// log.json, which is where people look. The others get a log each.
	serial bool
}{
	verbCreate:     {"create", 5 * time.Minute, true}, // runs hooks
	verbStart:      {"start", 2 * time.Minute, true},  // runs hooks
	verbExec:       {"exec", time.Minute, false},
	verbKill:       {"kill", 30 * time.Second, false},
	verbDelete:     {"delete", 2 * time.Minute, true}, // runs hooks, waits up to 10 s for init
	verbState:      {"state", 30 * time.Second, false},
	verbPause:      {"pause", time.Minute, true},
	verbResume:     {"resume", time.Minute, true},
	verbUpdate:     {"update", time.Minute, true},
	verbCheckpoint: {"checkpoint", 15 * time.Minute, true}, // writes the container's memory
	verbRestore:    {"restore", 15 * time.Minute, true},
	verbFeatures:   {"features", 10 * time.Second, false},
}

func (v verb) String() string { return verbs[v].name }
