package proto_test

import (
	cgroups1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroups2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	events "github.com/containerd/containerd/api/events"
	bootstrap "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	forward "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	types "github.com/containerd/containerd/api/types"
	runcopts "github.com/containerd/containerd/api/types/runc/options"
	runtimeopts "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	official "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-shim/holdfast/proto"
	ourbootstrap "github.com/holdfast-shim/holdfast/proto/bootstrap"
	ourcgroups1 "github.com/holdfast-shim/holdfast/proto/cgroups1"
	ourcgroups2 "github.com/holdfast-shim/holdfast/proto/cgroups2"
	ourevents "github.com/holdfast-shim/holdfast/proto/events"
	ourruncopts "github.com/holdfast-shim/holdfast/proto/runcopts"
	ourruntimeopts "github.com/holdfast-shim/holdfast/proto/runtimeopts"
	ourtask "github.com/holdfast-shim/holdfast/proto/task"
	ourtypes "github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// A pair is one message as we have it and as containerd's own modules have it.
type pair struct {
	ours     func() proto.Message
	official func() official.Message
}

func p[O, T any, PO interface {
	*O
	proto.Message
}, PT interface {
	*T
	official.Message
}]() pair {
	return pair{
		ours:     func() proto.Message { return PO(new(O)) },
		official: func() official.Message { return PT(new(T)) },
	}
}

func (p pair) name() string { return string(p.official().ProtoReflect().Descriptor().FullName()) }

// The pairs of each Go package. Version 2 of the Task API is paired with the same
// messages of ours as version 3.
var (
	taskPairs = []pair{
		p[ourtask.CreateTaskRequest, taskv3.CreateTaskRequest](),
		p[ourtask.CreateTaskResponse, taskv3.CreateTaskResponse](),
		p[ourtask.DeleteRequest, taskv3.DeleteRequest](),
		p[ourtask.DeleteResponse, taskv3.DeleteResponse](),
		p[ourtask.ExecProcessRequest, taskv3.ExecProcessRequest](),
		p[ourtask.ExecProcessResponse, taskv3.ExecProcessResponse](),
		p[ourtask.ResizePtyRequest, taskv3.ResizePtyRequest](),
		p[ourtask.StateRequest, taskv3.StateRequest](),
		p[ourtask.StateResponse, taskv3.StateResponse](),
		p[ourtask.KillRequest, taskv3.KillRequest](),
		p[ourtask.CloseIORequest, taskv3.CloseIORequest](),
		p[ourtask.PidsRequest, taskv3.PidsRequest](),
		p[ourtask.PidsResponse, taskv3.PidsResponse](),
		p[ourtask.CheckpointTaskRequest, taskv3.CheckpointTaskRequest](),
		p[ourtask.UpdateTaskRequest, taskv3.UpdateTaskRequest](),
		p[ourtask.StartRequest, taskv3.StartRequest](),
		p[ourtask.StartResponse, taskv3.StartResponse](),
		p[ourtask.WaitRequest, taskv3.WaitRequest](),
		p[ourtask.WaitResponse, taskv3.WaitResponse](),
		p[ourtask.StatsRequest, taskv3.StatsRequest](),
		p[ourtask.StatsResponse, taskv3.StatsResponse](),
		p[ourtask.ConnectRequest, taskv3.ConnectRequest](),
		p[ourtask.ConnectResponse, taskv3.ConnectResponse](),
		p[ourtask.ShutdownRequest, taskv3.ShutdownRequest](),
		p[ourtask.PauseRequest, taskv3.PauseRequest](),
		p[ourtask.ResumeRequest, taskv3.ResumeRequest](),
	}
	taskV2Pairs = []pair{
		p[ourtask.CreateTaskRequest, taskv2.CreateTaskRequest](),
		p[ourtask.CreateTaskResponse, taskv2.CreateTaskResponse](),
		p[ourtask.DeleteRequest, taskv2.DeleteRequest](),
		p[ourtask.DeleteResponse, taskv2.DeleteResponse](),
		p[ourtask.ExecProcessRequest, taskv2.ExecProcessRequest](),
		p[ourtask.ExecProcessResponse, taskv2.ExecProcessResponse](),
		p[ourtask.ResizePtyRequest, taskv2.ResizePtyRequest](),
		p[ourtask.StateRequest, taskv2.StateRequest](),
		p[ourtask.StateResponse, taskv2.StateResponse](),
		p[ourtask.KillRequest, taskv2.KillRequest](),
		p[ourtask.CloseIORequest, taskv2.CloseIORequest](),
		p[ourtask.PidsRequest, taskv2.PidsRequest](),
		p[ourtask.PidsResponse, taskv2.PidsResponse](),
		p[ourtask.CheckpointTaskRequest, taskv2.CheckpointTaskRequest](),
		p[ourtask.UpdateTaskRequest, taskv2.UpdateTaskRequest](),
		p[ourtask.StartRequest, taskv2.StartRequest](),
		p[ourtask.StartResponse, taskv2.StartResponse](),
		p[ourtask.WaitRequest, taskv2.WaitRequest](),
		p[ourtask.WaitResponse, taskv2.WaitResponse](),
		p[ourtask.StatsRequest, taskv2.StatsRequest](),
		p[ourtask.StatsResponse, taskv2.StatsResponse](),
		p[ourtask.ConnectRequest, taskv2.ConnectRequest](),
		p[ourtask.ConnectResponse, taskv2.ConnectResponse](),
		p[ourtask.ShutdownRequest, taskv2.ShutdownRequest](),
		p[ourtask.PauseRequest, taskv2.PauseRequest](),
		p[ourtask.ResumeRequest, taskv2.ResumeRequest](),
	}
	eventPairs = []pair{
		p[ourevents.TaskCreate, events.TaskCreate](),
		p[ourevents.TaskStart, events.TaskStart](),
		p[ourevents.TaskDelete, events.TaskDelete](),
		p[ourevents.TaskIO, events.TaskIO](),
		p[ourevents.TaskExit, events.TaskExit](),
		p[ourevents.TaskOOM, events.TaskOOM](),
		p[ourevents.TaskExecAdded, events.TaskExecAdded](),
		p[ourevents.TaskExecStarted, events.TaskExecStarted](),
		p[ourevents.TaskPaused, events.TaskPaused](),
		p[ourevents.TaskResumed, events.TaskResumed](),
		p[ourevents.TaskCheckpointed, events.TaskCheckpointed](),
		p[ourevents.ForwardRequest, forward.ForwardRequest](),
	}
	typePairs = []pair{
		p[ourtypes.Mount, types.Mount](),
		p[ourtypes.Envelope, types.Envelope](),
		p[ourtypes.RuntimeRequest, types.RuntimeRequest](),
		p[ourtypes.RuntimeVersion, types.RuntimeVersion](),
		p[ourtypes.RuntimeInfo, types.RuntimeInfo](),
		p[ourtypes.Process, tasktypes.Process](),
		p[ourtypes.ProcessInfo, tasktypes.ProcessInfo](),
	}
	runcPairs = []pair{
		p[ourruncopts.Options, runcopts.Options](),
		p[ourruncopts.CheckpointOptions, runcopts.CheckpointOptions](),
		p[ourruncopts.ProcessDetails, runcopts.ProcessDetails](),
		p[ourruntimeopts.Options, runtimeopts.Options](),
	}
	bootstrapPairs = []pair{
		p[ourbootstrap.BootstrapParams, bootstrap.BootstrapParams](),
		p[ourbootstrap.Extension, bootstrap.Extension](),
		p[ourbootstrap.BootstrapResult, bootstrap.BootstrapResult](),
	}
	cgroups1Pairs = []pair{
		p[ourcgroups1.Metrics, cgroups1.Metrics](),
		p[ourcgroups1.HugetlbStat, cgroups1.HugetlbStat](),
		p[ourcgroups1.PidsStat, cgroups1.PidsStat](),
		p[ourcgroups1.CPUStat, cgroups1.CPUStat](),
		p[ourcgroups1.CPUUsage, cgroups1.CPUUsage](),
		p[ourcgroups1.Throttle, cgroups1.Throttle](),
		p[ourcgroups1.MemoryStat, cgroups1.MemoryStat](),
		p[ourcgroups1.MemoryEntry, cgroups1.MemoryEntry](),
		p[ourcgroups1.MemoryOomControl, cgroups1.MemoryOomControl](),
		p[ourcgroups1.BlkIOStat, cgroups1.BlkIOStat](),
		p[ourcgroups1.BlkIOEntry, cgroups1.BlkIOEntry](),
		p[ourcgroups1.RdmaStat, cgroups1.RdmaStat](),
		p[ourcgroups1.RdmaEntry, cgroups1.RdmaEntry](),
		p[ourcgroups1.NetworkStat, cgroups1.NetworkStat](),
		p[ourcgroups1.CgroupStats, cgroups1.CgroupStats](),
	}
	cgroups2Pairs = []pair{
		p[ourcgroups2.Metrics, cgroups2.Metrics](),
		p[ourcgroups2.PSIData, cgroups2.PSIData](),
		p[ourcgroups2.PSIStats, cgroups2.PSIStats](),
		p[ourcgroups2.PidsStat, cgroups2.PidsStat](),
		p[ourcgroups2.CPUStat, cgroups2.CPUStat](),
		p[ourcgroups2.MemoryStat, cgroups2.MemoryStat](),
		p[ourcgroups2.MemoryEvents, cgroups2.MemoryEvents](),
		p[ourcgroups2.RdmaStat, cgroups2.RdmaStat](),
		p[ourcgroups2.RdmaEntry, cgroups2.RdmaEntry](),
		p[ourcgroups2.IOStat, cgroups2.IOStat](),
		p[ourcgroups2.IOEntry, cgroups2.IOEntry](),
		p[ourcgroups2.HugeTlbStat, cgroups2.HugeTlbStat](),
		p[ourcgroups2.NetworkStat, cgroups2.NetworkStat](),
	}
	wellKnownPairs = []pair{
		p[wkt.Any, anypb.Any](),
		p[wkt.Timestamp, timestamppb.Timestamp](),
		p[wkt.Empty, emptypb.Empty](),
	}
)

func allPairs() []pair {
	var all []pair
	for _, group := range [][]pair{taskPairs, taskV2Pairs, eventPairs, typePairs, runcPairs, bootstrapPairs, cgroups1Pairs, cgroups2Pairs, wellKnownPairs} {
		all = append(all, group...)
	}
	return all
}
