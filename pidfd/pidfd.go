// Package pidfd takes hold of processes that are known by their number, which may
// become another's at any time.
package pidfd

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Open returns a descriptor of the process pid (pidfd_open(2)), which is the caller's
// to close. It is ESRCH when no process has that number, also where the kernel finds
// another word for it: EINVAL for one that is being reaped at that moment, to Linux
// 6.14, and for a thread that is not its process's first; ENOENT for that since.
func Open(pid int) (fd int, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	switch {
	case err == nil:
		return fd, nil
	case pid > 0 && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)):
		err = unix.ESRCH
	}
	return -1, os.NewSyscallError("pidfd_open", err)
}
