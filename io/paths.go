package stdio

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// ErrInvalid says that a stdio path is none that the shim can use. It is the
// caller's mistake.
var ErrInvalid = errors.New("invalid stdio path")

// Paths is what containerd asks for in Create and Exec: each stream empty
// (none), the absolute path of a fifo, or, for outputs, file:///path. With
// Terminal, stdout is the one output.
type Paths struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Check reports what in p cannot be used, naming the stream: [ErrInvalid].
func (p Paths) Check() error {
	if p.Stdin != "" {
		if scheme, _, err := target(p.Stdin); err != nil || scheme != "fifo" {
			return fmt.Errorf("stdin %q: %w: want a fifo's absolute path", p.Stdin, ErrInvalid)
		}
	}
	if _, _, err := target(p.Stdout); p.Stdout != "" && err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	if _, _, err := target(p.Stderr); p.Stderr != "" && err != nil {
		return fmt.Errorf("stderr: %w", err)
	}
	if p.Terminal && p.Stderr != "" {
		return fmt.Errorf("stderr %q: %w: a terminal has one output, stdout", p.Stderr, ErrInvalid)
	}
	return nil
}

// target takes a stream's path apart.
func target(s string) (scheme, path string, err error) {
	scheme, path = "fifo", s
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil {
			return "", "", fmt.Errorf("%q: %w: %w", s, ErrInvalid, err)
		}
		scheme, path = u.Scheme, u.Path
	}
	switch {
	case scheme != "fifo" && scheme != "file":
		return "", "", fmt.Errorf("%q: %w: scheme %q is not known", s, ErrInvalid, scheme)
	case !filepath.IsAbs(path):
		return "", "", fmt.Errorf("%q: %w: not an absolute path", s, ErrInvalid)
	case strings.ContainsRune(path, 0):
		return "", "", fmt.Errorf("%q: %w: it holds a NUL", s, ErrInvalid)
	}
	return scheme, path, nil
}
