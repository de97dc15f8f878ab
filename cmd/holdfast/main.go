package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/log"
)

// The exit codes that are the tool's own, as docker has them: everything else is
// the container's.
const (
	exitOK       = 0
	exitTrouble  = 125 // the tool, the shim or the runtime failed, or was asked wrongly
	exitNotRun   = 126 // the container's command cannot be run
	exitNotFound = 127 // the container's command is not there
)

// command is a subcommand.
type command struct {
	name    string
	summary string
	usage   string // what follows "holdfast NAME"
	// flags are those that may follow; nil for none.
	flags func() *flag.FlagSet
	notes string // what else there is to know; may be empty
	// run does the work and returns the exit code.
	run func(args []string) int
}

func commands() []command {
	return []command{runCommand(), psCommand(), inspectCommand(), versionCommand(), helpCommand()}
}

func main() {
	// The ttrpc package reports to stderr what comes too late to matter; it would
	// land in the middle of a container's output.
	log.L.Logger.SetOutput(io.Discard)
	os.Exit(dispatch(os.Args[1:]))
}

func dispatch(args []string) int {
	if len(args) == 0 {
		writeHelp(os.Stderr)
		return exitTrouble
	}
	name := args[0]
	switch name {
	case "-h", "-help", "--help":
		name = "help"
	case "-v", "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(args[1:])
		}
	}
	return trouble("unknown command %q: holdfast help lists them", name)
}

// trouble tells what went wrong in one line and is the exit code for it.
func trouble(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "holdfast: "+format+"\n", args...)
	return exitTrouble
}

// plain is an error's text in one line, without the codes that programs read.
func plain(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	for {
		before, rest, found := strings.Cut(text, "rpc error: code = ")
		_, after, isStatus := strings.Cut(rest, " desc = ")
		if !found || !isStatus {
			return text
		}
		text = before + after
	}
}
