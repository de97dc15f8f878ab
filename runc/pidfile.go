package runc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxPid is the largest number the kernel gives a process (PID_MAX_LIMIT).
const maxPid = 1 << 22

// ReadPidFile reads the pid that the runtime wrote for create, exec or restore.
// The file must hold one positive decimal number and nothing else but a line's
// end. A file that is not there is os.ErrNotExist: the runtime said that all
// was well and did not do it.
func ReadPidFile(path string) (int, error) {
	// Non-blocking: a fifo in its place must not hold us.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("runc: read pid file: %w", err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	pid := 0
	if err == nil {
		pid, err = parsePid(f)
	}
	if err != nil {
		return 0, fmt.Errorf("runc: read pid file %s: %w", path, err)
	}
	return pid, nil
}

func parsePid(r io.Reader) (int, error) {
	var buf [16]byte
	n, err := io.ReadFull(r, buf[:])
	switch {
	case err == nil:
		return 0, fmt.Errorf("too long for a pid: %q…", buf[:])
	case err == io.EOF:
		return 0, errors.New("empty")
	case err != io.ErrUnexpectedEOF:
		return 0, err
	}
	text := buf[:n]
	digits := text
	if digits[n-1] == '\n' {
		digits = digits[:n-1]
	}
	if len(digits) == 0 || digits[0] == '0' {
		return 0, fmt.Errorf("not a pid: %q", text)
	}
	pid := 0
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("not a pid: %q", text)
		}
		if pid = pid*10 + int(c-'0'); pid > maxPid {
			return 0, fmt.Errorf("not a pid: %q", text)
		}
	}
	return pid, nil
}

// removePidFile removes what an earlier call left at path, so that a runtime
// that writes nothing is not taken for one that wrote an old pid. runc writes
// under a second name first and refuses to find that one taken, as it is after
// it was killed in between.
func removePidFile(path string) {
	if path == "" {
		return
	}
	_ = unix.Unlink(path)
	dir, name := filepath.Split(path)
	_ = unix.Unlink(dir + "." + name)
}
