package events

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/reaper"
)

// Binary sends events through containerd's own binary, its `publish` command:
// the way for a daemon that names no ttrpc socket.
type Binary struct {
	Path    string // containerd's binary
	Address string // its gRPC socket
	Reaper  *reaper.Reaper
}

// Send runs the binary with the event on its stdin and waits for its end. ctx
// bounds it by SIGKILL.
func (b *Binary) Send(ctx context.Context, e *types.Envelope) error {
	payload, err := e.Event.Marshal()
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	// A file in memory, unlike a pipe, never blocks who fills it.
	fd, err := unix.MemfdCreate("event", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	stdin := os.NewFile(uintptr(fd), "event")
	defer stdin.Close()
	if _, err := stdin.Write(payload); err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	if _, err := stdin.Seek(0, 0); err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	reaper.Reach(b.Path)
	p, err := b.Reaper.Start(&reaper.Attr{
		Path:  b.Path,
		Args:  []string{b.Path, "--address", b.Address, "publish", "--topic", e.Topic, "--namespace", e.Namespace},
		Env:   os.Environ(),
		Files: []*os.File{stdin},
	}, nil)
	if err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = p.SignalGroup(unix.SIGKILL)
		<-p.Done()
		return fmt.Errorf("publish event: %w", ctx.Err())
	}
	if s := p.Exit().Status; s != 0 {
		return fmt.Errorf("publish event: %s publish ended with status %d", b.Path, s)
	}
	return nil
}

// Close does nothing: nothing is held between events.
func (b *Binary) Close() error { return nil }
