package cgroup

import (
	"os"

	"golang.org/x/sys/unix"
)

// readFile reads one of the kernel's files. The files of package os would be put
// into the runtime's poller first, as the kernel lets one poll these, only to be
// closed at once.
func readFile(path string) ([]byte, error) {
	fd, err := open(unix.AT_FDCWD, path, unix.O_RDONLY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	// Most are smaller.
	b, err := readAll(fd, make([]byte, 1024), 0)
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return b, nil
}

// readAll reads fd to its end, into buf as far as that goes, of which n bytes have
// been read before.
func readAll(fd int, buf []byte, n int) ([]byte, error) {
	for {
		if n == len(buf) {
			buf = append(buf, make([]byte, max(len(buf), 1024))...)
		}
		m, err := read(fd, buf[n:])
		if err != nil {
			return nil, err
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
}

func read(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// writeFile writes a value into one of the kernel's files, which must exist.
func writeFile(path, value string) error {
	fd, err := open(unix.AT_FDCWD, path, unix.O_WRONLY)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Write(fd, []byte(value))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "write " + value + " to", Path: path, Err: err}
		}
	}
}

func open(dir int, path string, mode int) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, mode|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}
