package runc

import (
	"fmt"
	"io"
	"os"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/runtimeopts"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// configLimit is how long a file of options may be.
const configLimit = 64 << 10

// Options are what a user has chosen of the runtime: those of containerd.runc.v1,
// or a section or a file of TOML with the same ones, which is what containerd's
// CRI plugin makes of the options of a runtime type that it does not know. Without
// any they are empty. The error is a [*proto.TypeError] for options of another
// kind.
func Options(boxed *wkt.Any) (*runcopts.Options, error) {
	o := new(runcopts.Options)
	if boxed == nil || boxed.TypeUrl == "" && len(boxed.Value) == 0 {
		return o, nil
	}
	var section runtimeopts.Options
	if !boxed.Is(section.TypeURL()) {
		return o, proto.Unpack(boxed, o)
	}
	if err := proto.Unpack(boxed, &section); err != nil {
		return nil, err
	}
	if section.ConfigPath == "" {
		if err := setOptions(o, string(section.ConfigBody)); err != nil {
			return nil, fmt.Errorf("the runtime's options: %w", err)
		}
		return o, nil
	}
	text, err := readConfig(section.ConfigPath)
	if err == nil {
		err = setOptions(o, text)
	}
	if err != nil {
		return nil, fmt.Errorf("the runtime's options in %s: %w", section.ConfigPath, err)
	}
	return o, nil
}

func readConfig(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, configLimit+1))
	if err == nil && len(b) > configLimit {
		err = fmt.Errorf("longer than %d bytes", configLimit)
	}
	return string(b), err
}
