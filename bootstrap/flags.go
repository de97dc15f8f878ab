package bootstrap

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/holdfast-shim/holdfast/bundle"
)

// Face is what one run of the binary is for.
type Face int

const (
	FaceServe   Face = iota // no action: be the shim of a group of containers
	FaceStart               // start: make a shim, or find one
	FaceDelete              // delete: clear away what a dead shim left
	FaceInfo                // -info
	FaceVersion             // -v, -version
)

// Flags is a parsed command line.
type Flags struct {
	Face Face

	Namespace     string // containerd's namespace; valid as a file name
	ID            string // of the container; valid as a file name
	Address       string // containerd's gRPC socket
	PublishBinary string // containerd's own binary, which can publish events
	Bundle        string // "": see Delete; the working directory elsewhere
	Socket        string // for FaceServe: a path to listen on; "": listen on descriptor 3
	DebugSocket   string // for FaceServe: accepted, as containerd's shim does
	Debug         bool   // verbose log
}

// ParseFlags parses argv without its first element. Only help that was asked
// for is written, to stderr, and then the error is [flag.ErrHelp]; all other
// errors are for the caller to print.
//
// Flags may have one dash or two; -v and -info need nothing else. What follows
// the action is ignored, as containerd's own shim does.
func ParseFlags(args []string, stderr io.Writer) (Flags, error) {
	var (
		f             Flags
		version, info bool
	)
	fs := flag.NewFlagSet("shim", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&f.Namespace, "namespace", "", "containerd `namespace` of the container")
	fs.StringVar(&f.ID, "id", "", "`id` of the container")
	fs.StringVar(&f.Address, "address", "", "`path` of containerd's gRPC socket")
	fs.StringVar(&f.PublishBinary, "publish-binary", "", "`path` of containerd's binary")
	fs.StringVar(&f.Bundle, "bundle", "", "`path` of the bundle if it is not the working directory")
	fs.StringVar(&f.Socket, "socket", "", "`path` to serve on instead of descriptor 3")
	fs.StringVar(&f.DebugSocket, "debug-socket", "", "accepted and not used")
	fs.BoolVar(&f.Debug, "debug", false, "write a verbose log")
	fs.BoolVar(&version, "v", false, "print the version and exit")
	fs.BoolVar(&version, "version", false, "print the version and exit")
	fs.BoolVar(&info, "info", false, "read runtime options from stdin, print what the runtime can do, and exit")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			io.WriteString(stderr, "A shim is run by containerd: FLAGS [start | delete]\n")
			fs.SetOutput(stderr)
			fs.PrintDefaults()
			return Flags{}, err
		}
		return Flags{}, fmt.Errorf("parse the command line: %w", err)
	}
	switch {
	case version:
		f.Face = FaceVersion
		return f, nil
	case info:
		f.Face = FaceInfo
		return f, nil
	}
	switch action := fs.Arg(0); action {
	case "":
		if fs.NArg() > 0 {
			return Flags{}, errors.New("parse the command line: the action is empty")
		}
		f.Face = FaceServe
	case "start":
		f.Face = FaceStart
	case "delete":
		f.Face = FaceDelete
	default:
		return Flags{}, fmt.Errorf("parse the command line: unknown action %q: only start and delete are known", action)
	}
	if f.Namespace == "" {
		return Flags{}, errors.New("parse the command line: -namespace is missing")
	}
	if f.ID == "" {
		return Flags{}, errors.New("parse the command line: -id is missing")
	}
	// Both become parts of paths.
	if err := bundle.ValidID(f.Namespace); err != nil {
		return Flags{}, fmt.Errorf("parse the command line: -namespace: %w", err)
	}
	if err := bundle.ValidID(f.ID); err != nil {
		return Flags{}, fmt.Errorf("parse the command line: -id: %w", err)
	}
	return f, nil
}
