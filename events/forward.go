package events

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/types"
)

// Forward sends events to containerd's ttrpc socket. It is for one goroutine.
type Forward struct {
	path   string
	client *ttrpc.Client // nil when not connected
}

// NewForward makes a sender to the unix socket at address, with or without
// "unix://" before it. It connects with the first event, and again after any
// failure: a connection that failed once may lead to a daemon that is gone.
func NewForward(address string) *Forward {
	return &Forward{path: strings.TrimPrefix(address, "unix://")}
}

// Send delivers one event.
func (f *Forward) Send(ctx context.Context, e *types.Envelope) error {
	if f.client == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", f.path)
		if err != nil {
			return fmt.Errorf("forward event: %w", err)
		}
		f.client = ttrpc.NewClient(conn)
	}
	_, err := events.NewClient(f.client).Forward(ctx, &events.ForwardRequest{Envelope: e})
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("forward event: %w", err)
	}
	return nil
}

// Close closes the connection; Send would open another.
func (f *Forward) Close() error {
	if f.client == nil {
		return nil
	}
	err := f.client.Close()
	f.client = nil
	return err
}
