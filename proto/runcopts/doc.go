// Package runcopts owns the options of containerd.runc.v1: those of Create and of
// Checkpoint, and what Pids tells of an exec.
//
// It never fills in a default.
package runcopts
