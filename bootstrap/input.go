package bootstrap

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto"
	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/runc"
)

// maxInput bounds what is read from stdin, in bytes.
const maxInput = 10 << 20

var (
	// ErrInput says that stdin held something that no containerd sends.
	ErrInput = errors.New("malformed input")
	// ErrInputTooLarge says that stdin held more than 10 MiB.
	ErrInputTooLarge = errors.New("input is larger than 10 MiB")
)

// dialect is how containerd wants the answer to start.
type dialect int

const (
	// plainAddress, of containerd 1.6 and older: the bare address.
	plainAddress dialect = iota + 1
	// jsonParams, of containerd 1.7 to 2.2: a JSON object.
	jsonParams
	// bootstrapResult, of containerd 2.3 and newer: a protobuf message.
	bootstrapResult
)

// request is what containerd asks of start, whichever way it said it.
type request struct {
	dialect       dialect
	grpcAddress   string // part of the socket's name
	ttrpcAddress  string // where events go
	publishBinary string
	socketDir     string            // "": the default
	level         bootapi.LogLevel  // 0 is info
	options       *runcopts.Options // never nil
}

// readInput reads stdin to its end. A terminal, or a descriptor that is not
// open, counts as empty: a person has nothing to say to start, and must not
// have to find out that it waits.
func readInput(stdin io.Reader) ([]byte, error) {
	if f, ok := stdin.(*os.File); ok && (f == nil || isTerminal(f)) {
		return nil, nil
	}
	if stdin == nil {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(stdin, maxInput+1))
	switch {
	case errors.Is(err, unix.EBADF) || errors.Is(err, os.ErrClosed):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read stdin: %w", err)
	case len(b) > maxInput:
		return nil, fmt.Errorf("read stdin: %w", ErrInputTooLarge)
	}
	return b, nil
}

func isTerminal(f *os.File) bool {
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	terminal := false
	conn.Control(func(fd uintptr) {
		_, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		terminal = err == nil
	})
	return terminal
}

// understand decides on the dialect. env is what the environment says.
//
// Runtime options can parse as BootstrapParams by accident, since both begin
// with two strings. They are believed only when both are the ones on the
// command line, which is containerd's own rule.
func understand(input []byte, f Flags, env environ) (request, error) {
	var params bootapi.BootstrapParams
	if len(input) > 0 && params.Unmarshal(input) == nil && params.InstanceId == f.ID && params.Namespace == f.Namespace {
		return fromParams(&params, f)
	}
	r := request{
		dialect:       plainAddress,
		grpcAddress:   f.Address,
		ttrpcAddress:  env.get("TTRPC_ADDRESS"),
		publishBinary: f.PublishBinary,
	}
	if env.get("MAX_SHIM_VERSION") != "" {
		r.dialect = jsonParams
	}
	if f.Debug {
		r.level = bootapi.LogLevel_LOG_LEVEL_DEBUG
	}
	var err error
	_, r.options, err = readOptions(input)
	return r, err
}

func fromParams(p *bootapi.BootstrapParams, f Flags) (request, error) {
	r := request{
		dialect:       bootstrapResult,
		grpcAddress:   p.ContainerdGrpcAddress,
		ttrpcAddress:  p.ContainerdTtrpcAddress,
		publishBinary: p.ContainerdBinary,
		socketDir:     p.SocketDir,
		level:         p.LogLevel,
		options:       new(runcopts.Options),
	}
	if f.Debug {
		r.level = min(r.level, bootapi.LogLevel_LOG_LEVEL_DEBUG)
	}
	for _, e := range p.Extensions {
		if e == nil || e.Value == nil {
			continue
		}
		o, err := runc.Options(e.Value)
		var other *proto.TypeError
		if errors.As(err, &other) {
			continue
		}
		if err != nil {
			return request{}, fmt.Errorf("read the bootstrap parameters: %w: %w", ErrInput, err)
		}
		r.options = o
		break
	}
	return r, nil
}

// readOptions decodes an Any of runtime options. The first result is nil unless
// that is what it was. The second is never nil without an error; it is empty when
// input is, or holds a type that is not ours: that is for another shim, or for a
// later one.
func readOptions(input []byte) (*wkt.Any, *runcopts.Options, error) {
	boxed := new(wkt.Any)
	if err := boxed.Unmarshal(input); err != nil {
		return nil, nil, fmt.Errorf("read the runtime options: %w: %w", ErrInput, err)
	}
	o, err := runc.Options(boxed)
	var other *proto.TypeError
	if errors.As(err, &other) {
		return nil, new(runcopts.Options), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the runtime options: %w: %w", ErrInput, err)
	}
	if !boxed.Is(o.TypeURL()) {
		boxed = nil
	}
	return boxed, o, nil
}
