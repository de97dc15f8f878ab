// Package cgroup is a container's control group as its shim needs it: who is in
// it, how to kill them all, what they used, and who was killed for want of memory.
//
// It owns the knowledge of where a group is (version 1, version 2, and both at
// once, which systemd calls hybrid) and of the kernel's files in it, and nothing
// that outlives a call, no descriptor and no goroutine, but for an OOMWatcher's. A
// Group is plain data and can be written down and read back. Groups are made and
// removed by the OCI runtime; Remove is for when that is lost.
//
// It never runs a program, and never takes a group for a container's that is not
// its own: the root group, or one that holds the calling process.
package cgroup
