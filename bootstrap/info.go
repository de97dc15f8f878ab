package bootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
	"github.com/holdfast-shim/holdfast/version"
)

// featuresType is the name that containerd gives to the JSON of an OCI runtime's
// features: typeurl's prefix, the module, the spec's major version and the Go
// type, see core/runtime/typeurl.go of containerd 2.3.
const featuresType = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"

// featuresLimit bounds the wait for the OCI runtime: containerd's own start
// waits for us.
const featuresLimit = 2 * time.Second

// Info answers -info: a containerd.types.RuntimeInfo on Stdout about this shim
// and the OCI runtime that the options on Stdin name. A runtime that cannot say
// what it can do is no error, one that is not there is.
func Info(ctx context.Context, c *Call) error {
	input, err := readInput(c.Stdin)
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	boxed, options, err := readOptions(input)
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	features, err := features(ctx, options.BinaryName)
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	out, err := (&types.RuntimeInfo{
		Name:     runtimeName(c.Program),
		Version:  &types.RuntimeVersion{Version: version.Version, Revision: version.Revision},
		Options:  boxed,
		Features: features,
	}).Marshal()
	if err != nil {
		return fmt.Errorf("info: %w", err)
	}
	if err := put(c.Stdout, out); err != nil {
		return fmt.Errorf("info: answer: %w", err)
	}
	return nil
}

// features asks the OCI runtime; nil when it does not know.
func features(ctx context.Context, binary string) (*wkt.Any, error) {
	r, err := reaper.New()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(ctx, featuresLimit)
	defer cancel()
	b, err := runc.Features(ctx, r, binary)
	if errors.Is(err, runc.ErrNoRuntime) {
		return nil, err
	}
	if err != nil || !json.Valid(b) {
		return nil, nil
	}
	return &wkt.Any{TypeUrl: featuresType, Value: b}, nil
}

// runtimeName is the runtime that containerd's configuration calls this program
// by: containerd looks for io.containerd.NAME.VERSION under the file name
// containerd-shim-NAME-VERSION.
func runtimeName(program string) string {
	rest, ok := strings.CutPrefix(filepath.Base(program), "containerd-shim-")
	if i := strings.LastIndexByte(rest, '-'); ok && i > 0 && i < len(rest)-1 {
		return "io.containerd." + rest[:i] + "." + rest[i+1:]
	}
	return "io.containerd.runc.v2"
}
