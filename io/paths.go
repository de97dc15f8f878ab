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
// (none), the absolute path of a fifo, or, for outputs,
//
//	file:///path                  a file that is appended to
//	binary:///path?key=value&…    a logger, ready when it closes its descriptor 5
//	binary-v2:///path?key=value&… a logger, ready when it writes a byte to it
//
// With Terminal, stdout is the one output and Stderr says nothing. A logger of
// stdout takes stderr too when Stderr is empty, as with containerd's own shim.
type Paths struct {
	Stdin, Stdout, Stderr string
	Terminal              bool
}

// Check reports what in p cannot be used, naming the stream: [ErrInvalid].
func (p Paths) Check() error {
	if p.Stdin != "" {
		if t, err := parse(p.Stdin); err != nil || t.scheme != schemeFifo {
			return fmt.Errorf("stdin %q: %w: want a fifo's absolute path", p.Stdin, ErrInvalid)
		}
	}
	for i, path := range p.outputs() {
		if path == "" {
			continue
		}
		if _, err := parse(path); err != nil {
			return fmt.Errorf("%s: %w", outputNames[i], err)
		}
	}
	return nil
}

var outputNames = [2]string{"stdout", "stderr"}

// outputs are the paths of stdout and stderr, empty where there is no stream.
func (p Paths) outputs() [2]string {
	switch {
	case p.Terminal:
		return [2]string{p.Stdout, ""}
	case p.Stderr == "":
		if t, err := parse(p.Stdout); err == nil && t.isLogger() {
			return [2]string{p.Stdout, p.Stdout}
		}
	}
	return [2]string{p.Stdout, p.Stderr}
}

const (
	schemeFifo     = "fifo"
	schemeFile     = "file"
	schemeLogger   = "binary"
	schemeLoggerV2 = "binary-v2"
)

// target is the path of one stream, taken apart.
type target struct {
	scheme string
	path   string
	args   []string // of a logger, without argv[0]
}

func (t target) isLogger() bool { return t.scheme == schemeLogger || t.scheme == schemeLoggerV2 }

func parse(s string) (target, error) {
	t := target{scheme: schemeFifo, path: s}
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil {
			return target{}, fmt.Errorf("%q: %w: %w", s, ErrInvalid, err)
		}
		t.scheme, t.path = u.Scheme, u.Path
		if t.isLogger() {
			if t.args, err = loggerArgs(u.RawQuery); err != nil {
				return target{}, fmt.Errorf("%q: %w: %w", s, ErrInvalid, err)
			}
		}
	}
	switch {
	case t.scheme != schemeFifo && t.scheme != schemeFile && !t.isLogger():
		return target{}, fmt.Errorf("%q: %w: scheme %q is not known", s, ErrInvalid, t.scheme)
	case !filepath.IsAbs(t.path):
		return target{}, fmt.Errorf("%q: %w: not an absolute path", s, ErrInvalid)
	}
	for _, part := range append(t.args, t.path) {
		if strings.ContainsRune(part, 0) {
			return target{}, fmt.Errorf("%q: %w: it holds a NUL", s, ErrInvalid)
		}
	}
	return t, nil
}

// loggerArgs are the arguments that a query makes: each key once, in the order
// in which they stand there, and after it its first value, empty or not. That
// is containerd's way, which only has no order.
func loggerArgs(query string) ([]string, error) {
	var args []string
	seen := func(key string) bool {
		for i := 0; i < len(args); i += 2 {
			if args[i] == key {
				return true
			}
		}
		return false
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		if err != nil {
			return nil, err
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, err
		}
		if !seen(key) {
			args = append(args, key, value)
		}
	}
	return args, nil
}
