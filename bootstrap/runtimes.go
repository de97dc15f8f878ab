package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/pidfd"
)

// runtimeEnd bounds the wait for the end of the runtimes that were killed.
const runtimeEnd = time.Second

// endRuntimes kills what still runs of the OCI runtime on the container of the
// bundle dir, and waits for its end. It dies with the shim that started it, but
// not before the kernel has closed the shim's connections, which is what
// containerd calls `delete` for: on a busy machine it may go on making a cgroup or
// a mount after they were looked for.
func endRuntimes(dir string) error {
	log := filepath.Join(dir, bundle.RuntimeLog)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("look for the OCI runtime: %w", err)
	}
	deadline := time.Now().Add(runtimeEnd)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !runsIn(pid, dir) || !logsTo(pid, log) {
			continue
		}
		if err := endRuntime(pid, log, deadline); err != nil {
			return fmt.Errorf("end the OCI runtime, process %d: %w", pid, err)
		}
	}
	return nil
}

// runsIn reports whether a process works in dir, as a runtime does in its bundle. That is
// asked first: the arguments of a process are in its memory, whose lock it may hold as
// long as it likes, by a file system that does not answer.
func runsIn(pid int, dir string) bool {
	workedIn, err := bundle.WorkedIn("/proc/" + strconv.Itoa(pid))
	return err == nil && workedIn == dir
}

// logsTo reports whether a process was started as an OCI runtime with that log.
func logsTo(pid int, log string) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	args := strings.Split(string(b), "\x00")
	i := slices.Index(args, "--log")
	return i > 0 && i+1 < len(args) && args[i+1] == log
}

func endRuntime(pid int, log string, deadline time.Time) error {
	fd, err := pidfd.Open(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if !logsTo(pid, log) { // now that the number is held
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline)).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("it does not end: %w", unix.ETIMEDOUT)
		default:
			return nil
		}
	}
}
