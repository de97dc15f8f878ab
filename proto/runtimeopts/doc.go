// Package runtimeopts owns the options that containerd sends for a runtime whose
// own options it does not know: a piece of its configuration, as it is.
//
// It never reads that: see package runc.
package runtimeopts
