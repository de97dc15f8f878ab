// Package scenario reads and writes scenarios: files that tell a story of a shim
// in commands, and under each what came of it.
//
//	# What a reader should know.
//	create c1
//	start c1
//	----
//	event: create c1
//	create c1: pid 1
//	event: start c1
//	start c1: pid 1
//
// A block is lines of commands, a line of dashes and what was answered and told
// until all was quiet; an empty line ends it. Lines that begin with # are for the
// reader and stay where they are.
//
// The package does not know what the commands mean: package task plays them
// against a simulated machine, package tests against a real shim.
package scenario
