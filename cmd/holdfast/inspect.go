package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/cgroups1"
	"github.com/holdfast-shim/holdfast/proto/cgroups2"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func inspectCommand() command {
	return command{
		name:    "inspect",
		summary: "print as JSON all that a container's shim tells of it",
		usage:   "[FLAGS] ID",
		flags:   func() *flag.FlagSet { return inspectFlagSet(&choice{}) },
		notes: `ID may be the beginning of one, if no other container's begins so. The exit code is
125 when there is no such container or its shim does not answer for it.
`,
		run: inspectMain,
	}
}

func inspectFlagSet(c *choice) *flag.FlagSet {
	f := flag.NewFlagSet("inspect", flag.ContinueOnError)
	c.bind(f)
	return f
}

// inspection is what inspect prints.
type inspection struct {
	sight
	Stdio      stdioSight     `json:"stdio"`
	ExitStatus *uint32        `json:"exit_status,omitempty"` // of a stopped one
	ExitedAt   *time.Time     `json:"exited_at,omitempty"`
	Processes  []processSight `json:"processes,omitempty"`
	Stats      proto.Message  `json:"stats,omitempty"` // a Metrics of cgroup version 1 or 2
}

type stdioSight struct {
	Stdin    string `json:"stdin,omitempty"`
	Stdout   string `json:"stdout,omitempty"`
	Stderr   string `json:"stderr,omitempty"`
	Terminal bool   `json:"terminal"`
}

// processSight is a process in the container's cgroup.
type processSight struct {
	Pid    uint32 `json:"pid"`
	ExecID string `json:"exec_id,omitempty"` // of one that the daemon has asked for besides init
}

func inspectMain(args []string) int {
	var c choice
	f := inspectFlagSet(&c)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return helpCommand().run([]string{"inspect"})
	} else if err != nil {
		return trouble("inspect: %v", err)
	}
	if f.NArg() != 1 {
		return trouble("inspect: wants one container's id, not %q", f.Args())
	}
	if os.Geteuid() != 0 {
		return trouble("inspect: must be root")
	}
	b, err := c.one(f.Arg(0))
	if err != nil {
		return trouble("inspect: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Patience)
	defer cancel()
	v := inspect(ctx, b)
	if err := writeJSON(os.Stdout, v); err != nil {
		return trouble("inspect: %v", err)
	}
	if v.Error != "" {
		return trouble("inspect: %s", v.Error)
	}
	return exitOK
}

func inspect(ctx context.Context, b *client.Bundle) inspection {
	var v inspection
	v.sight = look(ctx, b, func(s *client.Shim, state *task.StateResponse) error {
		return v.ask(ctx, s, state)
	})
	return v
}

// ask asks the shim for what ps does not show. A container that has no processes
// any more has none, and no stats.
func (v *inspection) ask(ctx context.Context, s *client.Shim, state *task.StateResponse) error {
	v.Stdio = stdioSight{state.Stdin, state.Stdout, state.Stderr, state.Terminal}
	if statusName(state.Status) == "stopped" {
		v.ExitStatus = &state.ExitStatus
		if at := state.ExitedAt; at != nil {
			t := time.Unix(at.Seconds, int64(at.Nanos)).UTC()
			v.ExitedAt = &t
		}
		return nil
	}
	pids, err := s.Task.Pids(ctx, &task.PidsRequest{Id: s.Bundle.ID})
	if ended(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pids: %w", err)
	}
	for _, p := range pids.Processes {
		var details runcopts.ProcessDetails
		if p.Info != nil {
			if err := proto.Unpack(p.Info, &details); err != nil {
				return fmt.Errorf("pids: details of process %d: %w", p.Pid, err)
			}
		}
		v.Processes = append(v.Processes, processSight{p.Pid, details.ExecId})
	}
	stats, err := s.Task.Stats(ctx, &task.StatsRequest{Id: s.Bundle.ID})
	if ended(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stats: %w", err)
	}
	if v.Stats, err = metrics(stats.Stats); err != nil {
		return fmt.Errorf("stats: %w", err)
	}
	return nil
}

// ended reports whether a call failed because the container ended meanwhile.
func ended(err error) bool {
	return client.Code(err) == codes.NotFound || client.Code(err) == codes.FailedPrecondition
}

// metrics reads what Stats answers. None is nil.
func metrics(a *wkt.Any) (proto.Message, error) {
	if a == nil {
		return nil, nil
	}
	for _, m := range []proto.Message{new(cgroups1.Metrics), new(cgroups2.Metrics)} {
		var other *proto.TypeError
		if err := proto.Unpack(a, m); !errors.As(err, &other) {
			return m, err
		}
	}
	return nil, fmt.Errorf("unknown type %q", a.TypeUrl)
}
