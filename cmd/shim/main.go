// The runtime's watch over the cgroup's CPU limit would hold two descriptors
// open in every shim and wake it up; containerd sets GOMAXPROCS itself.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/holdfast-shim/holdfast/bootstrap"
	"github.com/holdfast-shim/holdfast/version"
)

func main() {
	if err := run(); err != nil {
		// One line: containerd puts it into its own error as it is.
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	flags, err := bootstrap.ParseFlags(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	call := &bootstrap.Call{
		Program: os.Args[0],
		Flags:   flags,
		Env:     os.Environ(),
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
	}
	switch flags.Face {
	case bootstrap.FaceStart:
		if _, err := readSettings(os.Getenv); err != nil {
			return fmt.Errorf("start: %w", err)
		}
		return bootstrap.Start(call)
	case bootstrap.FaceDelete:
		return bootstrap.Delete(context.Background(), call)
	case bootstrap.FaceInfo:
		return bootstrap.Info(context.Background(), call)
	case bootstrap.FaceVersion:
		return version.Write(os.Stdout, os.Args[0])
	default:
		return serve(flags)
	}
}
