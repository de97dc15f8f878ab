package runc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultBinary is the runtime when Runtime.Binary is empty.
const DefaultBinary = "runc"

// program is what every call of a Runtime has in common.
type program struct {
	path string   // of the binary, absolute
	env  []string // the runtime's environment
}

// program looks the binary up and prepares its environment, once.
func (r *Runtime) program() (*program, error) {
	if p := r.found.Load(); p != nil {
		return p, nil
	}
	path, err := lookPath(r.binary(), os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	p := &program{path: path, env: environ(os.Environ())}
	r.found.Store(p)
	return p, nil
}

func (r *Runtime) binary() string {
	if r.Binary == "" {
		return DefaultBinary
	}
	return r.Binary
}

// lookPath finds name in the directories of path, or takes it as it is when it
// has a slash. The error leads to ErrNoRuntime.
func lookPath(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		abs, err := filepath.Abs(name)
		if err == nil {
			err = executable(abs)
		}
		if err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrNoRuntime, name, err)
		}
		return abs, nil
	}
	for _, dir := range filepath.SplitList(path) {
		// The working directory, which an empty element means, is the bundle:
		// what lies there is the container's, not the node's.
		if !filepath.IsAbs(dir) {
			continue
		}
		file := filepath.Join(dir, name)
		if executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not in $PATH", ErrNoRuntime, name)
}

// executable reports why file cannot be executed.
func executable(file string) error {
	fi, err := os.Stat(file)
	if err != nil {
		return errors.Unwrap(err)
	}
	if fi.IsDir() {
		return unix.EISDIR
	}
	return unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
}
