// Package mountinfo reads the kernel's table of mounts, /proc/PID/mountinfo,
// as proc_pid_mountinfo(5) describes it.
//
// It owns that file's format and nothing else: it is given a reader, makes no
// system call of its own, mounts nothing and never decides what a line is good
// for. Package mount uses it to undo mounts, package cgroup to find where the
// cgroup hierarchies are.
package mountinfo
