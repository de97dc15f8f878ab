package main

import (
	"bytes"

	library "github.com/containerd/log"

	"github.com/holdfast-shim/holdfast/log"
)

// aside takes what the ttrpc package logs, as errors of its own: for the most
// part of clients that went away before their answer, which is their good right
// and no error of a shim's.
type aside struct{ log *log.Logger }

func (a aside) Write(line []byte) (int, error) {
	a.log.Debug("ttrpc", log.String("said", string(bytes.TrimSpace(line))))
	return len(line), nil
}

// listenAside has the package log by that logger, and not to stderr.
func listenAside(l *log.Logger) { library.L.Logger.SetOutput(aside{l}) }
