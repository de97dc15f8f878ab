// Package version knows which build this is.
//
// It owns the two strings that the linker stamps into a binary, and how they
// are printed for a person. It never decides anything by them.
package version
