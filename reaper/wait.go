package reaper

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// unknownStatus is reported for an end whose status was lost: that of a
// process killed by SIGKILL, as containerd has it.
const unknownStatus = 128 + uint32(unix.SIGKILL)

// childInfo is siginfo_t as waitid(2) fills it: the common head, then the
// SIGCHLD member of its union, which a 64-bit kernel aligns to 8 bytes.
type childInfo struct {
	head [3]int32
	_    [(unsafe.Sizeof(uintptr(0)) - 4) / 4]int32
	pid  int32
	rest [unsafe.Sizeof(unix.Siginfo{}) - 12 - (unsafe.Sizeof(uintptr(0)) - 4) - 4]byte
}

// firstZombie is the pid of a child that has ended and was not reaped, or 0.
// It leaves the zombie as it is.
func firstZombie() int {
	var info childInfo
	for {
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&info)),
			unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0 // ECHILD: no children at all
		}
		return int(info.pid)
	}
}

// isChild reports whether pid names a child of this process, alive or zombie.
func isChild(pid int) bool {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err == nil
		}
	}
}

// wait reaps pid if it has ended.
func wait(pid int) (status uint32, ended bool, err error) {
	var ws unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &ws, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		if got == 0 {
			return 0, false, nil
		}
		if ws.Signaled() {
			return 128 + uint32(ws.Signal()), true, nil
		}
		return uint32(ws.ExitStatus()), true, nil
	}
}
