package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenFD is the descriptor on which the shim finds its listening socket.
const listenFD = 3

// spawn starts the serving shim: a session of its own, nothing of ours but the
// listening socket, and dir as its working directory. It returns once the program
// has been executed.
//
// It goes below package os, whose processes come with a pidfd: finding out
// whether the kernel has those costs os a test process.
func spawn(args, env []string, dir string, listener int) (pid int, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("start the shim: open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	n := uintptr(null)
	attr := &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{n, n, n, listenFD: uintptr(listener)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	path, err := executable()
	if err != nil {
		return 0, fmt.Errorf("start the shim: %w", err)
	}
	argv := append([]string{path}, args...)
	pid, err = syscall.ForkExec(path, argv, attr)
	if err != nil && path != self {
		pid, err = syscall.ForkExec(self, argv, attr)
	}
	if err != nil {
		return 0, fmt.Errorf("start the shim: execute %s in the directory %s: %w", path, dir, err)
	}
	return pid, nil
}

const self = "/proc/self/exe"

// executable returns what to execute to run this very program again. Under its own
// path it keeps its name in the process list, which people look for; but during
// an upgrade that path may hold nothing or a newer version, and then the kernel's
// link is the only way to the program that has begun this start.
func executable() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return self, nil
	}
	var running, onDisk unix.Stat_t
	if err := unix.Stat(self, &running); err != nil {
		return "", fmt.Errorf("find the program that runs: %w", err)
	}
	if unix.Stat(path, &onDisk) != nil || onDisk.Dev != running.Dev || onDisk.Ino != running.Ino {
		return self, nil
	}
	return path, nil
}

// killAndReap ends a child of this process that nobody else waits for.
func killAndReap(pid int) {
	unix.Kill(pid, unix.SIGKILL)
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
