// Package tests holds the end-to-end tests: the real shim, driven by package
// harness in containerd's place, with the real runtime, kernel and file systems.
//
// They need root, a runc and a statically linked busybox. HOLDFAST_SHIM names
// another shim's binary to run them against, and HOLDFAST_DIALECT the newest
// dialect that it speaks.
package tests
