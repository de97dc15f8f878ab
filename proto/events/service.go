package events

import (
	"context"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/internal/rpc"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// Service is the name of the service that takes events.
const Service = "containerd.services.events.ttrpc.v1.Events"

// Forwarder takes events; containerd is one.
type Forwarder interface {
	Forward(context.Context, *ForwardRequest) (*wkt.Empty, error)
}

// RegisterForwarder makes srv hand events to f.
func RegisterForwarder(srv *ttrpc.Server, f Forwarder) {
	srv.RegisterService(Service, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Forward": rpc.Method(f.Forward),
	}})
}

// Client sends events. It is a Forwarder; the connection stays its maker's.
type Client struct{ conn *ttrpc.Client }

var _ Forwarder = (*Client)(nil)

// NewClient returns a client on c.
func NewClient(c *ttrpc.Client) *Client { return &Client{c} }

// Forward returns once the other side has taken the event.
func (c *Client) Forward(ctx context.Context, req *ForwardRequest) (*wkt.Empty, error) {
	resp := new(wkt.Empty)
	if err := rpc.Call(ctx, c.conn, Service, "Forward", req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}
