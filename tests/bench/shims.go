package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-shim/holdfast/client"
)

// shim is one shim's binary and how it is spoken to.
type shim struct {
	Name    string `json:"name"` // the column's
	Path    string `json:"path"`
	Version string `json:"version"` // as it tells it
	dialect client.Dialect
	ours    bool
}

// installedShim is where containerd's packages, whoever made them, put theirs.
const installedShim = "/usr/bin/containerd-shim-runc-v2"

const shimFile = "containerd-shim-runc-v2"

// version asks a binary for its version.
func version(path string) (string, error) {
	out, err := exec.Command(path, "-v").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -v: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	v, ok := parseVersion(string(out))
	if !ok {
		return "", fmt.Errorf("%s -v: no version in %q", path, out)
	}
	return v, nil
}

// parseVersion finds the version in what a shim prints for -v: a first line
// with its name, then "  Version:  1.6.20~ds1".
func parseVersion(out string) (string, bool) {
	for line := range strings.Lines(out) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "Version:"); ok {
			v = strings.TrimSpace(v)
			return v, v != ""
		}
	}
	return "", false
}

// plainVersion is a version without what packagers add to it: 1.6.20 of
// v1.6.20~ds1.
func plainVersion(v string) string {
	v = strings.TrimPrefix(v, "v")
	end := strings.IndexFunc(v, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end >= 0 {
		v = v[:end]
	}
	return strings.Trim(v, ".")
}

// dialectOf is how containerd speaks to its shim of that version. Shims from
// 2.0 on answer version 3, which of the dialects the newest takes; that those
// before 2.3 do not know what it writes to them is something they stand, since
// a daemon that was upgraded does just that. A version that cannot be read is
// taken for a new one.
func dialectOf(version string) client.Dialect {
	parts := strings.SplitN(plainVersion(version), ".", 3)
	var numbers [2]int
	for i := range min(len(parts), len(numbers)) {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return client.DialectBootstrap
		}
		numbers[i] = n
	}
	switch major, minor := numbers[0], numbers[1]; {
	case major == 1 && minor < 7:
		return client.DialectAddress
	case major == 1:
		return client.DialectJSON
	default:
		return client.DialectBootstrap
	}
}

// ourShim is the shim that is measured against the others.
func ourShim(path string) (*shim, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	v, err := version(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no shim to measure (make build makes it): %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &shim{Name: "holdfast", Path: path, Version: v, dialect: client.DialectBootstrap, ours: true}, nil
}

// rivalShim is a shim of containerd's at path.
func rivalShim(path string) (*shim, error) {
	v, err := version(path)
	if err != nil {
		return nil, err
	}
	return &shim{Name: "containerd " + plainVersion(v), Path: path, Version: v, dialect: dialectOf(v)}, nil
}

// namedShim is one that the command line gives as NAME=PATH or, where the
// dialect is not the newest, NAME=PATH@1.
func namedShim(arg string) (*shim, error) {
	name, path, ok := strings.Cut(arg, "=")
	if !ok || name == "" || path == "" {
		return nil, fmt.Errorf("%q: want NAME=PATH or NAME=PATH@DIALECT", arg)
	}
	dialect := client.DialectBootstrap
	if p, number, ok := strings.Cut(path, "@"); ok {
		n, err := strconv.Atoi(number)
		if err != nil || n < int(client.DialectAddress) || n > int(client.DialectBootstrap) {
			return nil, fmt.Errorf("%q: want 1, 2 or 3 as the dialect", arg)
		}
		path, dialect = p, client.Dialect(n)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	v, err := version(path)
	if err != nil {
		return nil, err
	}
	return &shim{Name: name, Path: path, Version: v, dialect: dialect}, nil
}
