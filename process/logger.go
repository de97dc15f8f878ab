package process

import (
	"golang.org/x/sys/unix"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/reaper"
)

// StartLogger has r start loggers. They outlive the shim: what the container
// still has to say when it dies is written down.
func StartLogger(r *reaper.Reaper) func(*stdio.Program) (stdio.Child, error) {
	return func(p *stdio.Program) (stdio.Child, error) {
		reaper.Reach(p.Path)
		child, err := r.Start(&reaper.Attr{
			Path:              p.Path,
			Args:              p.Args,
			Env:               p.Env,
			Files:             p.Files,
			KeepOnParentDeath: true,
		}, nil)
		if err != nil {
			return nil, err
		}
		return logger{child}, nil
	}
}

type logger struct{ *reaper.Process }

func (l logger) Kill() error    { return l.SignalGroup(unix.SIGKILL) }
func (l logger) Status() uint32 { return l.Exit().Status }
