package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The shim finds its socket on descriptor listenFD, and on wordFD the reading end of
// a pipe that brings one byte when the socket listens and somebody was told so, or
// its end when `start` was killed before.
const (
	listenFD = 3
	wordFD   = 4
)

// ErrUnfinished says that the start that made this shim was killed before it had
// told anybody of it.
var ErrUnfinished = errors.New("start has ended before it answered")

// shim is a serving shim that waits for a word.
type shim struct {
	pid  int
	word int // the writing end
}

// release lets the shim serve.
func (s *shim) release() {
	// EPIPE: it has ended. Whoever was told of it finds out in the same way as when
	// that happens a moment later.
	_, _ = unix.Write(s.word, []byte{1})
	unix.Close(s.word)
}

// end ends the shim instead.
func (s *shim) end() {
	killAndReap(s.pid)
	unix.Close(s.word)
}

// awaitWord waits for release, and closes word.
func awaitWord(word int) error {
	defer unix.Close(word)
	for {
		n, err := unix.Read(word, make([]byte, 1))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("descriptor %d is not the pipe that start makes: %w", word, err)
		case n == 0:
			return ErrUnfinished
		default:
			return nil
		}
	}
}

// spawn starts the serving shim: a session of its own, nothing of ours but the
// socket, which need not listen yet, and dir as its working directory. It returns
// once the program has been executed.
//
// It goes below package os, whose processes come with a pidfd: finding out
// whether the kernel has those costs os a test process.
func spawn(args, env []string, dir string, socket int) (s *shim, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("start the shim: open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)
	var word [2]int
	if err := unix.Pipe2(word[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("start the shim: make a pipe: %w", err)
	}
	defer unix.Close(word[0])
	defer func() {
		if err != nil {
			unix.Close(word[1])
		}
	}()
	n := uintptr(null)
	attr := &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: []uintptr{n, n, n, listenFD: uintptr(socket), wordFD: uintptr(word[0])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	path, err := executable()
	if err != nil {
		return nil, fmt.Errorf("start the shim: %w", err)
	}
	argv := append([]string{path}, args...)
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil && path != self {
		pid, err = syscall.ForkExec(self, argv, attr)
	}
	if err != nil {
		return nil, fmt.Errorf("start the shim: execute %s in the directory %s: %w", path, dir, err)
	}
	return &shim{pid: pid, word: word[1]}, nil
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
