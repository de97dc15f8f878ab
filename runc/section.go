package runc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
)

// setOptions sets what a section of TOML says. Its keys are those of the options
// in containerd's configuration, in any case of letters; there are no tables in it.
func setOptions(o *runcopts.Options, section string) error {
	number := 0
	for line := range strings.Lines(section) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, rest, ok := strings.Cut(line, "=")
		if !ok {
			return fmt.Errorf("line %d: %q is no key and value", number, line)
		}
		key = strings.TrimSpace(key)
		if q, err := quoted(key); err == nil {
			key = q
		}
		if err := setOption(o, key, strings.TrimSpace(rest)); err != nil {
			return fmt.Errorf("line %d: %s: %w", number, key, err)
		}
	}
	return nil
}

func setOption(o *runcopts.Options, key, value string) (err error) {
	switch strings.ToLower(key) {
	case "nopivotroot":
		o.NoPivotRoot, err = boolean(value)
	case "nonewkeyring":
		o.NoNewKeyring, err = boolean(value)
	case "systemdcgroup":
		o.SystemdCgroup, err = boolean(value)
	case "shimcgroup":
		o.ShimCgroup, err = text(value)
	case "binaryname":
		o.BinaryName, err = text(value)
	case "root":
		o.Root, err = text(value)
	case "criuimagepath":
		o.CriuImagePath, err = text(value)
	case "criuworkpath":
		o.CriuWorkPath, err = text(value)
	case "iouid":
		o.IoUid, err = number(value)
	case "iogid":
		o.IoGid, err = number(value)
	case "typeurl", "configpath", "criupath":
		// The first two are about the section; the third is gone since containerd 2.0.
	default:
		err = errors.New("no such option")
	}
	return err
}

// bare is a value without the comment after it.
func bare(value string) string {
	value, _, _ = strings.Cut(value, "#")
	return strings.TrimSpace(value)
}

func boolean(value string) (bool, error) {
	switch v := bare(value); v {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
}

func number(value string) (uint32, error) {
	n, err := strconv.ParseUint(bare(value), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of 32 bits", bare(value))
	}
	return uint32(n), nil
}

func text(value string) (string, error) {
	if value == "" {
		return "", errors.New("no value")
	}
	// What comes after the closing quote may be a comment alone.
	end := closing(value)
	if end < 0 || bare(value[end:]) != "" {
		return "", fmt.Errorf("%s is no string", value)
	}
	return quoted(value[:end])
}

// closing is where the string ends that value begins with, after its quote; -1
// without one.
func closing(value string) int {
	quote := value[0]
	if quote != '"' && quote != '\'' {
		return -1
	}
	for i := 1; i < len(value); i++ {
		switch {
		case value[i] == '\\' && quote == '"':
			i++
		case value[i] == quote:
			return i + 1
		}
	}
	return -1
}

// quoted is what a basic or a literal string of TOML says. The escapes of a basic
// one are among Go's.
func quoted(s string) (string, error) {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return s[1 : len(s)-1], nil
	}
	if len(s) < 2 || s[0] != '"' {
		return "", fmt.Errorf("%s is no string", s)
	}
	out, err := strconv.Unquote(s)
	if err != nil {
		return "", fmt.Errorf("%s is no string", s)
	}
	return out, nil
}
