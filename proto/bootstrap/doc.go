// Package bootstrap owns the messages of containerd.runtime.bootstrap.v1, what
// containerd 2.3 and later say to `start` and read from it.
//
// It never reads stdin or tells one dialect from another.
package bootstrap
