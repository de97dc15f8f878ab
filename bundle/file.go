package bundle

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ErrCorrupt says that a file is there but does not hold what its name says.
var ErrCorrupt = errors.New("corrupt file")

// small bounds the files that hold one short value.
const small = 64 << 10

// serial keeps the temporary names of one process apart.
var serial atomic.Uint32

// write replaces the file name in dir by one with the given content and mode
// 0600, in one step. The content is not synced: a bundle does not outlive the
// machine's memory.
func write(dir, name string, content []byte) error {
	path := filepath.Join(dir, name)
	tmp := filepath.Join(dir, "."+name+"."+strconv.Itoa(os.Getpid())+"."+strconv.FormatUint(uint64(serial.Add(1)), 10))
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// read returns the content of the file name in dir, which must be regular and
// hold no more than limit bytes; otherwise [ErrCorrupt].
func read(dir, name string, limit int64) ([]byte, error) {
	path := filepath.Join(dir, name)
	// Without O_NONBLOCK a fifo of that name would hold us until it has a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file", ErrCorrupt, path)
	}
	content := make([]byte, 0, min(st.Size(), limit)+1)
	for {
		n, err := f.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		switch {
		case int64(len(content)) > limit:
			return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrCorrupt, path, limit)
		case err == io.EOF:
			return content, nil
		case err != nil:
			return nil, err
		}
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
	}
}
