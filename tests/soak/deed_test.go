package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// start runs a process. A client that heard no answer asks again.
func (l *life) start(id string, haste time.Duration) (answer, error) {
	p := l.proc(id)
	asked := false
	for {
		c := l.container()
		ctx, cancel := l.temper(haste)
		haste = 0
		_, err := c.Shim.Task.Start(ctx, &task.StartRequest{Id: l.id, ExecId: id})
		cancel()
		l.note("start %q: %v", id, err)
		switch {
		case err == nil:
			p.started = yes
			return yes, nil
		case broken(err):
			asked = true
			if err := l.reconnect(c); err != nil {
				p.started = maybe
				return maybe, err
			}
		case gaveUp(err):
			asked = true
			l.sum.givenUp.Add(1)
		case asked && client.Code(err) == codes.FailedPrecondition:
			p.started = maybe
			return maybe, nil
		default:
			return no, nil // the runtime was struck
		}
	}
}

// wait waits for the end of a process that may have been started.
func (l *life) wait(id string) (uint32, error) {
	var r *task.WaitResponse
	err := l.call(func(ctx context.Context, c *client.Container) (err error) {
		r, err = c.Shim.Task.Wait(ctx, &task.WaitRequest{Id: l.id, ExecId: id})
		return err
	})
	l.note("wait %q: %+v, %v", id, r, err)
	if err != nil {
		return 0, err
	}
	p := l.proc(id)
	p.told = &r.ExitStatus
	if p.started == yes && p.want != nil && *p.want != r.ExitStatus {
		l.fail("process %q ended with %d, it was to end with %d", id, r.ExitStatus, *p.want)
	}
	return r.ExitStatus, nil
}

func (l *life) kill(id string, sig unix.Signal, all bool) error {
	err := l.call(func(ctx context.Context, c *client.Container) error {
		_, err := c.Shim.Task.Kill(ctx, &task.KillRequest{Id: l.id, ExecId: id, Signal: uint32(sig), All: all})
		return err
	})
	l.note("kill %q by %v: %v", id, sig, err)
	if client.Code(err) == codes.NotFound {
		return nil // it has ended
	}
	return err
}

// delete ends the story of a process in the shim.
func (l *life) delete(id string, haste time.Duration) error {
	const tries = 10
	asked := false
	for try := 0; ; try++ {
		c := l.container()
		ctx, cancel := l.temper(haste)
		haste = 0
		r, err := c.Shim.Task.Delete(ctx, &task.DeleteRequest{Id: l.id, ExecId: id})
		cancel()
		l.note("delete %q: %+v, %v", id, r, err)
		switch {
		case err == nil:
			p := l.proc(id)
			p.deleted = &r.ExitStatus
			if p.told != nil && *p.told != r.ExitStatus {
				l.fail("delete of %q told %d, wait %d", id, r.ExitStatus, *p.told)
			}
			return nil
		case broken(err):
			asked = true
			if err := l.reconnect(c); err != nil {
				return err
			}
		case gaveUp(err):
			asked = true
			l.sum.givenUp.Add(1)
		case client.Code(err) == codes.NotFound && asked:
			return nil
		case try == tries || client.Code(err) == codes.NotFound || client.Code(err) == codes.FailedPrecondition:
			return err
		}
	}
}

// end deletes the container and shuts its shim down. It is for one that has ended,
// or was never started.
func (l *life) end() error {
	err := l.delete("", l.haste())
	if refusedDial(err) {
		// It was done, and the shim has ended before the daemon came back.
		l.deleted = true
		l.cleanUp()
		return nil
	}
	if err != nil {
		return err
	}
	// From here on the chaos leaves the shim alone, unless others live in it.
	l.mu.Lock()
	delete(l.lives, l.id)
	killed := l.node.killed[l.shim]
	l.mu.Unlock()
	if killed {
		return errLost
	}
	l.deleted = true
	ctx, cancel := l.patience()
	defer cancel()
	c := l.container()
	if err := c.Shim.Shutdown(ctx); err != nil {
		return err
	}
	select {
	case <-c.Shim.Closed():
		// By the shim's end, or the daemon has gone away before it could ask.
		l.waitUp()
		if again, err := l.Load(ctx, l.bundle); err == nil {
			err = again.Shutdown(ctx)
			l.note("shutdown again: %v", err)
			again.Close()
		}
	default:
	}
	l.leave()
	l.closeOutputs()
	return l.bundle.Delete()
}

// finish ends the life, whatever state it is in.
func (l *life) finish(err error) {
	if err == nil {
		err = l.end()
	}
	if err != nil && !errors.Is(err, errLost) {
		l.fail("%v", err)
		return
	}
	if err != nil {
		l.lost = true
		l.cleanUp()
	}
}

// exec runs a process beside init, from Exec to Delete.
func (l *life) exec(id string, w want, haste time.Duration, kill bool) error {
	l.sum.execs.Add(1)
	out, err := l.open(id, w.terminal)
	if err != nil {
		return err
	}
	defer l.closeOutput(out)
	p := l.proc(id)
	if !kill {
		p.want = w.status
	}
	spec := client.DefaultProcess(w.args...)
	spec.Terminal = w.terminal
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	asked := false
	err = l.call(func(ctx context.Context, c *client.Container) error {
		_, err := c.Shim.Task.Exec(ctx, &task.ExecProcessRequest{
			Id: l.id, ExecId: id, Terminal: w.terminal, Stdout: out.stdout, Stderr: out.stderr, Spec: &wkt.Any{Value: text},
		})
		if asked && client.Code(err) == codes.AlreadyExists {
			err = nil
		}
		asked = true
		return err
	})
	l.note("exec %q %q: %v", id, w.args, err)
	if err != nil {
		if client.Code(err) == codes.FailedPrecondition {
			return nil // init has ended
		}
		return err
	}
	started, err := l.start(id, haste)
	if err != nil {
		return err
	}
	if kill && started != no {
		if err := l.kill(id, unix.SIGKILL, false); err != nil && client.Code(err) != codes.FailedPrecondition {
			return err
		}
	}
	if started != no {
		status, err := l.wait(id)
		if err != nil {
			return err
		}
		if started == yes && !kill && w.status != nil && status == *w.status {
			if err := l.said(out, w); err != nil {
				return err
			}
		}
	}
	return l.delete(id, haste)
}

// said waits until everything has come that a process was to say.
func (l *life) said(o *output, w want) error {
	text := said(w)
	if text == "" {
		return nil
	}
	end := time.Now().Add(harness.Patience)
	for o.Len() < len(text) {
		if l.wasKilled(l.shim) {
			return errLost
		}
		if time.Now().After(end) {
			l.fail("%q has said %d bytes of %d", w.args, o.Len(), len(text))
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := o.String(); got != text {
		i := 0
		for i < len(got) && i < len(text) && got[i] == text[i] {
			i++
		}
		l.fail("what %q said is wrong at byte %d: %.40q", w.args, i, got[i:])
	}
	return nil
}

// said is what the process of w says: the numbers up to the argument of seq.
func said(w want) string {
	i := slices.Index(w.args, "seq")
	if i < 0 {
		return ""
	}
	var most int
	if _, err := fmt.Sscan(w.args[i+1], &most); err != nil {
		return ""
	}
	end := "\n"
	if w.terminal {
		end = "\r\n"
	}
	var b strings.Builder
	for n := range most {
		fmt.Fprintf(&b, "%d%s", n+1, end)
	}
	return b.String()
}

// check looks at a life that is over: what its events told.
func (l *life) check() {
	if !l.created || l.t.Failed() {
		return
	}
	// What waited to be told when the shim was killed for its other containers went
	// with it.
	told := l.deleted && !l.wasKilled(l.shim)
	if told {
		ctx, cancel := l.patience()
		_, err := l.Events.Wait(ctx, func(e client.Event) bool {
			return e.ContainerID == l.id && e.Topic == client.TopicDelete
		})
		cancel()
		if err != nil {
			l.fail("%v", err)
			return
		}
	}
	story := l.Story(l.id)
	if slices.Contains(story, "oom") {
		l.sum.ooms.Add(1)
	} else if l.oom && told {
		l.fail("nobody was told that the kernel killed it for want of memory")
	}
	count := func(prefix string) (n int, line string) {
		for _, s := range story {
			if s == prefix || strings.HasPrefix(s, prefix+" ") {
				n++
				line = s
			}
		}
		return n, line
	}
	for id, p := range l.procs {
		exit, begin := "exit", "start"
		if id != "" {
			exit, begin = "exit "+id, "exec-started "+id
		}
		exits, line := 0, ""
		for _, s := range story {
			// Init's line has the status alone, an exec's its id before.
			if rest, ok := strings.CutPrefix(s, exit+" "); ok && !strings.Contains(rest, " ") {
				exits++
				line = s
			}
		}
		if exits > 1 {
			l.fail("%d exits of %q", exits, id)
		}
		if exits == 1 && p.told != nil && line != fmt.Sprintf("%s %d", exit, *p.told) {
			l.fail("event %q, and wait told %d", line, *p.told)
		}
		if exits == 1 && id == "" && l.lost && line != fmt.Sprintf("%s %d", exit, l.last.ExitStatus) {
			l.fail("event %q before the shim's death, and delete told %d after it", line, l.last.ExitStatus)
		}
		if !told {
			continue
		}
		if p.started == yes || id == "" {
			l.sum.exits.Add(1)
			if exits == 0 {
				l.sum.exitsLost.Add(1)
				l.fail("the exit of %q is lost", id)
			}
		}
		if n, _ := count(begin); p.started == yes && n != 1 || n > 1 {
			l.fail("%d times %q", n, begin)
		}
	}
	if !told {
		return
	}
	if n, _ := count("create"); n != 1 {
		l.fail("%d creates", n)
	}
	if n, line := count("delete"); n != 1 || l.procs[""].deleted != nil && line != fmt.Sprintf("delete %d", *l.procs[""].deleted) {
		l.fail("%d deletes, %q", n, line)
	}
}
