package task

import (
	"context"
	"sync"

	stdio "github.com/holdfast-shim/holdfast/io"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/process"
)

// openStdio opens the stdio of p, with the loggers that it asks for.
func (s *Service) openStdio(ctx context.Context, c *container, p *process.Process) (*stdio.Streams, error) {
	return stdio.Open(ctx, p.Stdio, stdio.Setup{
		Owner:     c.owner,
		ID:        p.ID,
		Namespace: s.Namespace,
		Start:     process.StartLogger(s.Reaper),
		Ready:     s.Ready,
		Report: func(err error) {
			l := c.log
			if !p.Init {
				l = l.With(log.String("exec", p.ID))
			}
			l.Warn("stdio", log.Err(err))
		},
	})
}

// closeAll closes them side by side, because each may have to wait for the end
// of its loggers.
func closeAll(streams []*stdio.Streams) {
	var closing sync.WaitGroup
	for _, st := range streams {
		closing.Go(st.Close)
	}
	closing.Wait()
}
