// Package tests holds the end-to-end tests: the real shim, driven by package
// harness in containerd's place, with the real runtime, kernel and file systems.
//
// They need root, a runc and a statically linked busybox. HOLDFAST_SHIM names
// another shim's binary to run them against, HOLDFAST_DIALECT the newest dialect
// that it speaks, and HOLDFAST_RUNTIME another runtime than runc.
package tests
