package cgroup

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// files reads the files of a group's directory, one after the other.
//
// The first error stays: what is read after it is empty, and whoever reads many
// files looks at err once, at the end. A file that does not exist is no error but
// empty, since kernels differ; nor is one that the kernel has turned off (pressure
// files say EOPNOTSUPP then).
type files struct {
	dir string
	fd  int    // O_PATH, of dir
	buf []byte // what read returns
	err error
}

// openFiles opens a group's directory. buf is where to read into, nil at first; the
// files' own, when they are closed, can be another's.
func openFiles(dir string, buf []byte) (*files, error) {
	fd, err := open(unix.AT_FDCWD, dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	if buf == nil {
		buf = make([]byte, 4096)
	}
	return &files{dir: dir, fd: fd, buf: buf}, nil
}

func (f *files) close() { unix.Close(f.fd) }

// read returns a file's content, which is good until the next read; nil if there is
// no such file.
//
// It reads once if that leaves room in buf: to the kernel a controller's file is one
// record (seq_show), which it keeps as a whole before it gives any of it away.
func (f *files) read(name string) []byte {
	if f.err != nil {
		return nil
	}
	fd, err := open(f.fd, name, unix.O_RDONLY)
	if err != nil {
		f.fail("open", name, err)
		return nil
	}
	defer unix.Close(fd)
	n, err := read(fd, f.buf)
	if err == nil && n == len(f.buf) {
		if f.buf, err = readAll(fd, f.buf, n); err == nil {
			n, f.buf = len(f.buf), f.buf[:cap(f.buf)]
		}
	}
	if err != nil {
		f.fail("read", name, err)
		return nil
	}
	return f.buf[:n]
}

func (f *files) fail(op, name string, err error) {
	if f.err != nil || err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return
	}
	f.err = &os.PathError{Op: op, Path: f.dir + "/" + name, Err: err}
}

// number reads a file that holds one number. The word "max" is what limit says.
func (f *files) number(name string, limit uint64) uint64 {
	b := bytes.TrimSpace(f.read(name))
	if len(b) == 0 {
		return 0
	}
	if string(b) == "max" {
		return limit
	}
	n, err := number(b)
	f.fail("parse", name, err)
	return n
}

// flat reads a flat keyed file and calls set for each of its lines.
func (f *files) flat(name string, set func(key []byte, value uint64)) {
	f.fail("parse", name, parseFlat(f.read(name), set))
}

// words calls each for the words of each line of a file. It says whether there is
// such a file.
func (f *files) words(name string, each func(words [][]byte) error) bool {
	b := f.read(name)
	f.fail("parse", name, parseWords(b, each))
	return b != nil
}
