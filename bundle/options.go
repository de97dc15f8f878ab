package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
)

// WriteOptions keeps the options that the container was made with, for `delete`.
// The JSON has the keys that containerd's own shim reads and writes, so that
// either shim can clean up after the other.
func WriteOptions(dir string, o *runcopts.Options) error {
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("write %s: %w", OptionsFile, err)
	}
	return write(dir, OptionsFile, b)
}

// ReadOptions returns what [WriteOptions] or containerd's own shim wrote. The
// error is [io/fs.ErrNotExist] when there is nothing and [ErrCorrupt] when it
// cannot be understood.
func ReadOptions(dir string) (*runcopts.Options, error) {
	b, err := read(dir, OptionsFile, small)
	if err != nil {
		return nil, fmt.Errorf("read the container's options: %w", err)
	}
	o, err := ParseOptions(b)
	if err != nil {
		return nil, fmt.Errorf("read the container's options in %s: %w", dir, err)
	}
	return o, nil
}

// ParseOptions is the pure half of [ReadOptions]. Keys that it does not know,
// such as the criu_path of containerd before 2.0, are passed over.
func ParseOptions(b []byte) (*runcopts.Options, error) {
	o := new(runcopts.Options)
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return o, nil
}

// WriteRuntime keeps the name of the OCI runtime's binary as shims older than
// options.json did; "" stands for the default one.
func WriteRuntime(dir, binary string) error {
	return write(dir, RuntimeFile, []byte(binary))
}

// ReadRuntime returns what [WriteRuntime] wrote; "" also when nothing was
// written, and [ErrCorrupt] for what cannot be a program's name.
func ReadRuntime(dir string) (string, error) {
	b, err := read(dir, RuntimeFile, small)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the OCI runtime's name: %w", err)
	}
	if !utf8.Valid(b) || bytes.ContainsAny(b, "\x00\n") {
		return "", fmt.Errorf("read the OCI runtime's name: %w: %s in %s", ErrCorrupt, RuntimeFile, dir)
	}
	return string(b), nil
}
