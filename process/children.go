package process

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/reaper"
	"github.com/holdfast-shim/holdfast/runc"
)

// Runtime is what a [Launch] has the OCI runtime do. It is [runc.Runtime], and
// in the scenarios of package task one that does each step when it is told to.
type Runtime interface {
	Create(context.Context, runc.CreateOpts) error
	Restore(context.Context, runc.RestoreOpts) error
	Exec(context.Context, runc.ExecOpts) error
	Delete(ctx context.Context, force bool) error
}

// Children is where processes come from that a runtime leaves behind: the
// reaper's, see [Reaped], or a scenario's.
type Children interface {
	Claim() Claim
}

// Claim is what [reaper.Claim] is.
type Claim interface {
	Adopt(pid int, onExit func(reaper.Exit)) (Child, error)
	End()
}

// Child is what a process is to its owner: a [reaper.Process].
type Child interface {
	Pid() int
	Signal(unix.Signal) error // [reaper.ErrGone] when it has ended
}

// Reaped are the children of r.
func Reaped(r *reaper.Reaper) Children { return reaped{r} }

type reaped struct{ r *reaper.Reaper }

func (c reaped) Claim() Claim { return claim{c.r.Claim()} }

type claim struct{ *reaper.Claim }

func (c claim) Adopt(pid int, onExit func(reaper.Exit)) (Child, error) {
	p, err := c.Claim.Adopt(pid, onExit)
	if err != nil {
		return nil, err
	}
	return p, nil
}
