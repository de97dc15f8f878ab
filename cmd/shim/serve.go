package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bootstrap"
	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/events"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/reaper"
	tasks "github.com/holdfast-shim/holdfast/task"
	"github.com/holdfast-shim/holdfast/thread"
	"github.com/holdfast-shim/holdfast/version"
)

const (
	// flushLimit bounds how long a shim that was shut down goes on trying to
	// deliver events. Containerd calls Shutdown after it has taken them all,
	// so this is for a daemon that died in between.
	flushLimit = 5 * time.Second
	// closeLimit bounds the wait for the answers that are under way.
	closeLimit = 2 * time.Second
)

// serve is the shim proper. It returns when it was shut down.
func serve(flags bootstrap.Flags) error {
	debug.SetGCPercent(gcPercent)
	listener, err := bootstrap.Listen(flags)
	if err != nil {
		return err
	}
	defer listener.Close()
	// Whatever containerd may have left open for us is not for the containers.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("keep inherited descriptors to this process: %w", err)
	}
	set, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	logger := openLog(set.level, flags.Debug)
	listenAside(logger)
	children, err := reaper.New()
	if err != nil {
		return err
	}
	defer children.Close()
	queue := events.New(flags.Namespace, sender(flags, children), logger)
	defer queue.Close()

	ended := make(chan struct{})
	service := tasks.New(tasks.Config{
		Namespace: flags.Namespace,
		Version:   version.Version,
		Reaper:    children,
		Events:    queue,
		Log:       logger,
		Deadlines: set.deadlines,
		Drain:     set.drain,
		Idle:      set.idle,
		Ready:     set.ready,
		Shutdown:  func() { close(ended) },
	})
	server, err := ttrpc.NewServer(ttrpc.WithUnaryServerInterceptor(new(tidy).call))
	if err != nil {
		return err
	}
	defer server.Close()
	task.Register(server, service)
	thread.Reserve(idleThreads)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ctx, listener) }()

	logger.Info("serving", log.String("id", flags.ID), log.Int("pid", os.Getpid()), log.String("version", version.Version))
	err = await(service, ended, failed, logger)
	logger.Info("ending", log.Int("containers", service.Containers()))

	// The socket goes first: whoever wants a shim from now on gets another.
	_ = listener.Close()
	limit, stop := context.WithTimeout(ctx, flushLimit)
	defer stop()
	if flushErr := queue.Flush(limit); flushErr != nil {
		logger.Error("events were not delivered", log.Int("events", queue.Len()), log.Err(flushErr))
	}
	limit, stop = context.WithTimeout(ctx, closeLimit)
	defer stop()
	listener.Settle(limit) // lets the answer to Shutdown out, which the server's own does not
	return err
}

// await returns when the shim is to end: because it was shut down or abandoned,
// because it can serve no longer, or by a signal, which waits until no container
// runs: a shim that ends before leaves a container that nobody reaps or reports.
func await(service *tasks.Service, ended <-chan struct{}, failed <-chan error, logger *log.Logger) error {
	// Caught, not ignored: what is ignored stays so in every program that the
	// shim starts, down to the container's.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1, unix.SIGPIPE)
	retired := make(chan struct{})
	var retire sync.Once
	for {
		select {
		case <-ended:
			return nil
		case <-retired:
			return nil
		case err := <-failed:
			return fmt.Errorf("serve: %w", err)
		case sig := <-signals:
			switch sig {
			case unix.SIGUSR1:
				dumpStacks(logger)
			case unix.SIGPIPE:
			default:
				retire.Do(func() {
					logger.Info("asked to end", log.String("signal", sig.String()), log.Int("containers", service.Containers()))
					go func() {
						service.Retire()
						close(retired)
					}()
				})
			}
		}
	}
}

// openLog opens the fifo `log` of the bundle, the working directory, and makes
// it stderr too, for what the Go runtime has to say in its last moment. Without
// one there is no log.
func openLog(level zapcore.Level, debug bool) *log.Logger {
	fifo, err := log.OpenFifo(bundle.LogFifo)
	if err != nil {
		return log.Discard()
	}
	_ = unix.Dup3(fifo.Fd(), unix.Stderr, 0)
	if debug {
		level = zapcore.DebugLevel
	}
	return log.New(fifo, level)
}

func sender(flags bootstrap.Flags, children *reaper.Reaper) events.Sender {
	if address := os.Getenv("TTRPC_ADDRESS"); address != "" {
		return events.NewForward(address)
	}
	return &events.Binary{Path: flags.PublishBinary, Address: flags.Address, Reaper: children}
}

func dumpStacks(logger *log.Logger) {
	buf := make([]byte, 64<<10)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) || len(buf) >= 16<<20 {
			logger.Info("goroutine stacks", log.String("stacks", string(buf[:n])))
			return
		}
		buf = make([]byte, 2*len(buf))
	}
}
