package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// namespace is the containerd namespace that the tool's containers are in.
const namespace = "holdfast"

func runCommand() command {
	return command{
		name:    "run",
		summary: "run a command in a new container and remove it afterwards",
		usage:   "[FLAGS] -- COMMAND [ARGUMENTS]",
		flags:   func() *flag.FlagSet { return runFlagSet(&runOptions{}) },
		notes:   runNotes,
		run:     runMain,
	}
}

func runMain(args []string) int {
	o, err := parseRun(args)
	if errors.Is(err, errHelp) {
		return helpCommand().run([]string{"run"})
	}
	if err != nil {
		return trouble("run: %v", err)
	}
	if os.Geteuid() != 0 {
		return trouble("run: must be root")
	}
	r := &run{
		o:       o,
		signals: make(chan os.Signal, 16),
		stdout:  newOutput(os.Stdout),
		stderr:  newOutput(os.Stderr),
		log:     &tailWriter{},
	}
	return r.do()
}

// run is one container from its making to its removal. Its methods are called by
// one goroutine, in the order of the file.
type run struct {
	o       *runOptions
	signals chan os.Signal
	stdout  *output
	stderr  *output
	log     *tailWriter // the shim's
	term    *terminal   // nil without -t, or without one to show it on

	state     *state
	events    *client.Events
	launcher  *client.Launcher
	container *client.Container
	shim      *client.Hold // nil when it could not be held
	printed   chan struct{}
	stopPrint context.CancelFunc
	pending   []syscall.Signal // for a container that does not run yet
	kills     int              // how often the user asked for the end
}

// do returns the exit code. Whatever happens, what was made is removed first.
func (r *run) do() int {
	// A broken output must come back as an error of the write: SIGPIPE's default
	// would end the tool and leave the container.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(r.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP,
		syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH)
	if r.o.Terminal {
		var err error
		if r.term, err = openTerminal(r.o.Input); err != nil {
			return trouble("run: %v", err)
		}
		defer r.term.restore()
	}
	code, err := r.live()
	r.term.restore()
	if err != nil {
		trouble("run: %s", plain(err))
	}
	return code
}

// live makes the container, runs it, and removes it again.
func (r *run) live() (code int, err error) {
	if r.state, err = newState(r.o.Root, r.o.ID); err != nil {
		return exitTrouble, err
	}
	defer func() { err = errors.Join(err, r.state.remove()) }()
	if err := r.listen(); err != nil {
		return exitTrouble, err
	}
	defer func() { err = errors.Join(err, r.unlisten()) }()
	defer func() {
		if r.shim != nil {
			r.shim.Close()
		}
	}()
	if code, err := r.create(); err != nil {
		return code, err
	}
	return r.useAndRemove()
}

// listen opens the way for events and has them printed if that is asked for.
func (r *run) listen() error {
	path, err := r.state.eventsPath()
	if err != nil {
		return err
	}
	if r.events, err = client.ListenEvents(path); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stopPrint, r.printed = stop, make(chan struct{})
	go func() {
		defer close(r.printed)
		if r.o.Events {
			r.events.Each(ctx, func(e client.Event) { fmt.Fprintf(os.Stderr, "%v%s", e, r.newline()) })
		}
	}()
	return nil
}

// newline ends a line of the tool's own: a raw terminal does not go back to the
// line's start by itself.
func (r *run) newline() string {
	if r.term != nil {
		return "\r\n"
	}
	return "\n"
}

func (r *run) unlisten() error {
	r.stopPrint()
	<-r.printed
	return r.events.Stop()
}

// create makes the container, unless a signal comes first: then what was made is
// undone, and the error says so. The code is for an error.
func (r *run) create() (code int, err error) {
	options, err := r.prepare()
	if err != nil {
		return exitTrouble, err
	}
	return r.orSignals(1, func(ctx context.Context) error {
		c, err := r.launcher.Create(ctx, *options)
		if err != nil {
			r.stdout.drop()
			r.stderr.drop()
			return errors.Join(err, r.launcher.EndStray(r.o.ID), r.endShim())
		}
		r.stdout.pass()
		r.stderr.pass()
		r.container = c
		return nil
	})
}

// prepare makes what a container needs before there is one.
func (r *run) prepare() (*client.CreateOptions, error) {
	fresh := r.state.path("rootfs")
	if r.o.Rootfs == "" && r.o.Bundle == "" {
		if err := client.MakeRootfs(fresh); err != nil {
			return nil, err
		}
	}
	config, rootfs, err := configure(r.o, fresh)
	if err != nil {
		return nil, err
	}
	if r.o.Debug {
		r.log.to = os.Stderr
	}
	r.launcher = &client.Launcher{
		Dialect:       r.o.Dialect,
		Shim:          r.o.Shim,
		Namespace:     namespace,
		Address:       r.state.path("holdfast.sock"),
		State:         r.state.path("bundle"),
		Fifos:         r.state.path("fifo"),
		EventsAddress: r.events.Path(),
		SocketDir:     r.state.socketDir(),
		Debug:         r.o.Debug,
		Log:           r.log,
	}
	mount := &types.Mount{Type: "bind", Source: rootfs, Options: []string{"rbind", "rw"}}
	if r.o.ReadOnly {
		mount.Options[1] = "ro"
	}
	streams := client.Streams{Stdout: r.stdout, Stderr: r.stderr, Terminal: r.o.Terminal}
	if r.o.Input {
		streams.Stdin = io.Reader(os.Stdin)
	}
	return &client.CreateOptions{
		ID:      r.o.ID,
		Config:  config,
		Rootfs:  []*types.Mount{mount},
		Streams: streams,
		Options: &runcopts.Options{BinaryName: r.o.Runtime, Root: r.state.path("runtime")},
		Connected: func(s *client.Shim) {
			ctx, cancel := context.WithTimeout(context.Background(), callPatience)
			defer cancel()
			// Without it the run can do all but make sure of the shim's end.
			r.shim, _ = s.Hold(ctx)
		},
	}, nil
}

// orSignals runs f with a context that is cancelled when so many signals that ask
// for an end have come, and returns when f has. All signals are kept for the
// container.
func (r *run) orSignals(ends int, f func(context.Context) error) (code int, err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	for {
		select {
		case err := <-done:
			var by interrupt
			if errors.As(context.Cause(ctx), &by) && err != nil {
				return 128 + int(by.signal), by
			}
			return commandCode(err), err
		case s := <-r.signals:
			sig := s.(syscall.Signal)
			r.pending = append(r.pending, sig)
			if asksForEnd(sig) {
				ends--
			}
			if ends == 0 {
				cancel(interrupt{sig})
			}
		}
	}
}

// interrupt is the signal that ended a run before there was a container to have it.
type interrupt struct{ signal syscall.Signal }

func (i interrupt) Error() string { return "stopped by " + i.signal.String() }

// asksForEnd tells whether a user who sends that signal wants the run to end.
func asksForEnd(s syscall.Signal) bool {
	switch s {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT:
		return true
	}
	return false
}

// commandCode is the exit code for a container that could not be made or
// started. What runc and crun say when it is the command's fault decides.
func commandCode(err error) int {
	if err == nil {
		return exitOK
	}
	text := strings.ToLower(err.Error())
	if !strings.Contains(text, "exec") {
		return exitTrouble
	}
	switch {
	case strings.Contains(text, "permission denied"), strings.Contains(text, "is a directory"),
		strings.Contains(text, "exec format error"):
		return exitNotRun
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "not found in $path"),
		strings.Contains(text, "no such file or directory"):
		return exitNotFound
	}
	return exitTrouble
}
