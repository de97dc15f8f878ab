package task

import (
	"context"

	"github.com/containerd/ttrpc"

	"github.com/holdfast-shim/holdfast/proto/internal/rpc"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// The names that the Task API goes by on the wire.
const (
	ServiceV2 = "containerd.task.v2.Task"
	ServiceV3 = "containerd.task.v3.Task"
)

// Service is the Task API. An error should carry a gRPC status; one that does not
// reaches the caller as Unknown, as ttrpc has it. A request belongs to the method
// that got it; an answer is encoded after the method has returned, so nothing may
// write to it any more.
type Service interface {
	State(context.Context, *StateRequest) (*StateResponse, error)
	Create(context.Context, *CreateTaskRequest) (*CreateTaskResponse, error)
	Start(context.Context, *StartRequest) (*StartResponse, error)
	Delete(context.Context, *DeleteRequest) (*DeleteResponse, error)
	Pids(context.Context, *PidsRequest) (*PidsResponse, error)
	Pause(context.Context, *PauseRequest) (*wkt.Empty, error)
	Resume(context.Context, *ResumeRequest) (*wkt.Empty, error)
	Checkpoint(context.Context, *CheckpointTaskRequest) (*wkt.Empty, error)
	Kill(context.Context, *KillRequest) (*wkt.Empty, error)
	Exec(context.Context, *ExecProcessRequest) (*wkt.Empty, error)
	ResizePty(context.Context, *ResizePtyRequest) (*wkt.Empty, error)
	CloseIO(context.Context, *CloseIORequest) (*wkt.Empty, error)
	Update(context.Context, *UpdateTaskRequest) (*wkt.Empty, error)
	Wait(context.Context, *WaitRequest) (*WaitResponse, error)
	Stats(context.Context, *StatsRequest) (*StatsResponse, error)
	Connect(context.Context, *ConnectRequest) (*ConnectResponse, error)
	Shutdown(context.Context, *ShutdownRequest) (*wkt.Empty, error)
}

// Register makes srv serve svc under both names.
func Register(srv *ttrpc.Server, svc Service) {
	desc := &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"State":      rpc.Method(svc.State),
		"Create":     rpc.Method(svc.Create),
		"Start":      rpc.Method(svc.Start),
		"Delete":     rpc.Method(svc.Delete),
		"Pids":       rpc.Method(svc.Pids),
		"Pause":      rpc.Method(svc.Pause),
		"Resume":     rpc.Method(svc.Resume),
		"Checkpoint": rpc.Method(svc.Checkpoint),
		"Kill":       rpc.Method(svc.Kill),
		"Exec":       rpc.Method(svc.Exec),
		"ResizePty":  rpc.Method(svc.ResizePty),
		"CloseIO":    rpc.Method(svc.CloseIO),
		"Update":     rpc.Method(svc.Update),
		"Wait":       rpc.Method(svc.Wait),
		"Stats":      rpc.Method(svc.Stats),
		"Connect":    rpc.Method(svc.Connect),
		"Shutdown":   rpc.Method(svc.Shutdown),
	}}
	srv.RegisterService(ServiceV2, desc)
	srv.RegisterService(ServiceV3, desc)
}
