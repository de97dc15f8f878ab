package reaper

import (
	"golang.org/x/sys/unix"
)

// Reach returns when the kernel has a program at hand, as far as that can be told
// by opening it and reading its beginning. That may take any time: a scanner for
// malware examines what is opened (fanotify(7)), or a disk does not answer.
//
// Whoever starts programs calls it before. In [Reaper.Start] the same would hold up
// this whole process: the thread that forks stands still until the child has called
// execve(2), and the Go runtime, which does not count that as a system call, has no
// processor for anybody else then.
//
// That there is no such program is for Start to say.
func Reach(path string) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		// What execve(2) reads before it lets the parent go on.
		_, _ = unix.Pread(fd, make([]byte, 256), 0)
		unix.Close(fd)
		return
	}
}
