package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// strayPatience bounds the ending of one stray shim.
const strayPatience = 10 * time.Second

// EndStray ends the shims that were started but whose answer was never heard,
// because their `start` was cut short: those whose sockets are in SocketDir,
// which must be this launcher's alone. Without a SocketDir it does nothing. id is
// what the shim would have been asked about.
func (l *Launcher) EndStray(id string) error {
	if l.SocketDir == "" {
		return nil
	}
	sockets, err := os.ReadDir(l.SocketDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end stray shims: %w", err)
	}
	var errs []error
	for _, s := range sockets {
		path := filepath.Join(l.SocketDir, s.Name())
		if err := endStrayAt(path, id); err != nil {
			errs = append(errs, fmt.Errorf("end stray shim at %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func endStrayAt(socket, id string) error {
	conn, err := net.DialTimeout("unix", socket, strayPatience)
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT) {
		return nil // nobody is behind it
	}
	if err != nil {
		return err
	}
	c := ttrpc.NewClient(conn)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), strayPatience)
	defer cancel()
	api := task.NewClient(c, 2)
	who, err := api.Connect(ctx, &task.ConnectRequest{Id: id})
	if err != nil {
		return err
	}
	shim, err := HoldPid(int(who.ShimPid))
	if err != nil {
		return err
	}
	defer shim.Close()
	_, err = api.Shutdown(ctx, &task.ShutdownRequest{Id: id, Now: true})
	if err != nil && !errors.Is(err, ttrpc.ErrClosed) {
		// It answers, so what is held is the shim and not a later process.
		if err := shim.Signal(unix.SIGKILL); err != nil {
			return err
		}
	}
	return shim.Wait(ctx)
}
