// Package log writes the shim's log: one JSON line a record, into the fifo
// `log` of the bundle, which containerd copies into its own log.
//
// It is zapcore alone. Package zap itself links net/http for its level
// handler, which a process that exists a thousand times on a node does not
// carry.
//
// Logging never blocks and never fails: when nobody reads the fifo and it is
// full, lines are dropped.
package log
