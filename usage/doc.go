// Package usage tells what a process takes of the machine: memory, threads,
// descriptors and processor time, as the kernel counts them in /proc.
//
// It is what the operator's tool shows of a shim, what the tests hold a shim to, and
// what the benchmark compares, so that all three mean the same by a word. The shim
// itself has no use for it.
package usage
