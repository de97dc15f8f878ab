// Package types owns the messages that several of containerd's services share
// (containerd.types) and the states of processes (containerd.v1.types).
//
// It never interprets them.
package types
