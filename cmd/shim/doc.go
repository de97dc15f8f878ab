// Command containerd-shim-holdfast-v2 is a containerd shim for runc: a drop-in
// for containerd-shim-runc-v2, and to be installed under that name too.
//
// Containerd runs it with an action (start, delete) or a question (-info, -v);
// `start` runs it once more without one, and that process stays: it serves the
// Task API for the containers of one group until containerd shuts it down.
//
// The package holds the faces together and decides nothing about containers.
package main
