package task

import (
	"context"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/internal/rpc"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// Client calls the Task API of a shim. It is a Service; its methods may be called
// from several goroutines. The connection stays its maker's.
type Client struct {
	conn    *ttrpc.Client
	service string
}

var _ Service = (*Client)(nil)

// NewClient returns a client for one version of the API: 2 under the old name, any
// other under the new one.
func NewClient(c *ttrpc.Client, version int) *Client {
	if version == 2 {
		return &Client{c, ServiceV2}
	}
	return &Client{c, ServiceV3}
}

// call answers a nil resp on an error, so that nobody reads a half of one.
func call[T any, P interface {
	*T
	proto.Message
}](ctx context.Context, c *Client, method string, req proto.Message) (P, error) {
	resp := P(new(T))
	if err := rpc.Call(ctx, c.conn, c.service, method, req, resp); err != nil {
		return nil, err
	}
	return resp, nil
}

func (c *Client) State(ctx context.Context, req *StateRequest) (*StateResponse, error) {
	return call[StateResponse](ctx, c, "State", req)
}

func (c *Client) Create(ctx context.Context, req *CreateTaskRequest) (*CreateTaskResponse, error) {
	return call[CreateTaskResponse](ctx, c, "Create", req)
}

func (c *Client) Start(ctx context.Context, req *StartRequest) (*StartResponse, error) {
	return call[StartResponse](ctx, c, "Start", req)
}

func (c *Client) Delete(ctx context.Context, req *DeleteRequest) (*DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, "Delete", req)
}

func (c *Client) Pids(ctx context.Context, req *PidsRequest) (*PidsResponse, error) {
	return call[PidsResponse](ctx, c, "Pids", req)
}

func (c *Client) Pause(ctx context.Context, req *PauseRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Pause", req)
}

func (c *Client) Resume(ctx context.Context, req *ResumeRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Resume", req)
}

func (c *Client) Checkpoint(ctx context.Context, req *CheckpointTaskRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Checkpoint", req)
}

func (c *Client) Kill(ctx context.Context, req *KillRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Kill", req)
}

func (c *Client) Exec(ctx context.Context, req *ExecProcessRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Exec", req)
}

func (c *Client) ResizePty(ctx context.Context, req *ResizePtyRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "ResizePty", req)
}

func (c *Client) CloseIO(ctx context.Context, req *CloseIORequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "CloseIO", req)
}

func (c *Client) Update(ctx context.Context, req *UpdateTaskRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Update", req)
}

func (c *Client) Wait(ctx context.Context, req *WaitRequest) (*WaitResponse, error) {
	return call[WaitResponse](ctx, c, "Wait", req)
}

func (c *Client) Stats(ctx context.Context, req *StatsRequest) (*StatsResponse, error) {
	return call[StatsResponse](ctx, c, "Stats", req)
}

func (c *Client) Connect(ctx context.Context, req *ConnectRequest) (*ConnectResponse, error) {
	return call[ConnectResponse](ctx, c, "Connect", req)
}

func (c *Client) Shutdown(ctx context.Context, req *ShutdownRequest) (*wkt.Empty, error) {
	return call[wkt.Empty](ctx, c, "Shutdown", req)
}
