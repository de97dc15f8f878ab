package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archive writes everything in dir as a cpio archive of the kind that the kernel
// unpacks as its initramfs ("newc", see buffer-format.rst in its documentation).
// Directories, regular files and symbolic links keep their permissions; all belong
// to root.
func archive(w io.Writer, dir string) error {
	b := bufio.NewWriterSize(w, 1<<20)
	a := &cpio{w: b}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return a.add(name, path, info)
	})
	if err == nil {
		err = a.entry("TRAILER!!!", 0, 0, nil)
	}
	if err == nil {
		err = b.Flush()
	}
	return err
}

type cpio struct {
	w     io.Writer
	inode int
	n     int64 // bytes written
}

// The types of files in a mode, as stat(2) has them.
const (
	typeDirectory = 0o040000
	typeRegular   = 0o100000
	typeLink      = 0o120000
	sticky        = 0o001000
)

func (c *cpio) add(name, path string, info fs.FileInfo) error {
	mode := uint32(info.Mode().Perm())
	if info.Mode()&fs.ModeSticky != 0 {
		mode |= sticky
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return c.entry(name, typeDirectory|mode, 0, nil)
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		return c.entry(name, typeLink|mode, int64(len(target)), func(w io.Writer) (int64, error) {
			n, err := io.WriteString(w, target)
			return int64(n), err
		})
	case 0:
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return c.entry(name, typeRegular|mode, info.Size(), func(w io.Writer) (int64, error) {
			return io.Copy(w, f)
		})
	default:
		return fmt.Errorf("%s: a %v has no place in an image", path, info.Mode())
	}
}

// entry writes a header, the name and what content writes, each padded to four
// bytes.
func (c *cpio) entry(name string, mode uint32, size int64, content func(io.Writer) (int64, error)) error {
	if size > 1<<32-1 {
		return fmt.Errorf("%s is too large for the image", name)
	}
	c.inode++
	links := 1
	// The fields: inode, mode, uid, gid, links, mtime, size, the numbers of the
	// device and of the device it is, the name's length with its end, checksum.
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err := c.padded(func(w io.Writer) (int64, error) {
		n, err := io.WriteString(w, head)
		return int64(n), err
	}); err != nil || content == nil {
		return err
	}
	before := c.n
	if err := c.padded(content); err != nil {
		return err
	}
	if wrote := c.n - before; wrote < size || wrote >= size+4 {
		return fmt.Errorf("%s changed while it was read: %d bytes, %d expected", name, wrote, size)
	}
	return nil
}

func (c *cpio) padded(write func(io.Writer) (int64, error)) error {
	n, err := write(c.w)
	c.n += n
	if err != nil {
		return err
	}
	fill := -c.n & 3
	c.n += fill
	_, err = c.w.Write(make([]byte, fill))
	return err
}
