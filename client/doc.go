// Package client is the daemon's half of the conversation with a shim: it makes
// bundles, starts shims as containerd of any generation does, speaks the Task
// API to them, and receives their events and their output.
//
// It owns what a daemon owns: the bundle's directory, the log fifo's reading
// end, the stdio fifos, the socket that events come to. It never looks into a
// shim: what it knows came over the shim's socket, its exit code and output, or
// files that the contract with containerd names. So it drives any shim v2
// binary, which is what lets one test or benchmark compare several.
//
// It never runs a container by itself and never calls the OCI runtime.
package client
