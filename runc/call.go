package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-shim/holdfast/reaper"
	"golang.org/x/sys/unix"
)

// killGrace is how long a runtime may take to die of SIGKILL. It takes longer
// only when the kernel is stuck in a system call of its own.
const killGrace = 10 * time.Second

// call is one invocation of the runtime.
type call struct {
	verb verb
	args []string // after the verb, without the container's id
	last []string // the container's id and what follows it

	// files are the runtime's descriptors 0, 1 and 2. They stay the owner's.
	files [3]*os.File

	// unread takes what was written to files and read by nobody; may be nil.
	unread func() []byte

	// printed says that descriptors 1 and 2 are the runtime's own, not the
	// container's: what it writes there is read.
	printed bool

	// answer says that descriptor 1 is the verb's answer. Implies printed.
	answer bool

	pidFile string // "" if the verb writes none
}

// reads reports whether what the runtime prints is read.
func (c *call) reads() bool { return c.printed || c.answer }

// words is what the runtime printed, as far as it was read.
func (c *call) words(out *outputs) *ends {
	if c.unread == nil {
		return &out.stderr.text
	}
	words := &ends{headMax: keptOutput, tailMax: keptOutput}
	_, _ = words.Write(c.unread())
	return words
}

// run runs the runtime and returns its answer, if c has one. Every error is an
// *Error.
func (r *Runtime) run(ctx context.Context, c *call) ([]byte, error) {
	began := time.Now()
	limit := r.Deadlines.of(c.verb)
	if err := ctx.Err(); err != nil {
		return nil, r.gaveUp(c, began, err, 0, "")
	}
	prog, err := r.program()
	if err != nil {
		return nil, r.fail(c, 0, err.Error(), err)
	}
	if late := reach(ctx, prog, limit-time.Since(began)); late == ErrDeadline {
		return nil, r.fail(c, 0, "its binary could not be read within "+limit.String(), late)
	} else if late != nil {
		return nil, r.gaveUp(c, began, late, 0, "")
	}
	at := r.place(c.verb)
	defer at.leave()
	if at.log == "" && !c.reads() {
		// With neither a log nor its output, nobody would learn why it fails.
		return nil, r.fail(c, 0, "there is no bundle at "+strconv.Quote(r.Bundle), ErrInvalid)
	}
	removePidFile(c.pidFile)

	attr := &reaper.Attr{Path: prog.path, Args: r.argv(c, &at), Dir: at.dir, Env: prog.env}
	out, err := c.open(attr)
	if err != nil {
		return nil, r.fail(c, 0, err.Error(), err)
	}
	defer out.stop()
	p, err := r.Reaper.Start(attr, nil)
	out.started()
	if err != nil {
		return nil, r.fail(c, 0, err.Error(), r.startError(prog, &at, err))
	}

	late, dead := await(ctx, p, limit-time.Since(began))
	out.stop()

	var status uint32
	if dead {
		if status = p.Exit().Status; status == 0 {
			// Also when it was late: what was asked is done.
			answer, err := out.answer()
			if err != nil {
				return nil, r.fail(c, 0, err.Error(), err)
			}
			return answer, nil
		}
	}
	said := at.logged()
	switch {
	case late == nil:
		if said == "" {
			said = printed(c.words(out))
		}
		return nil, r.said(c, status, said)
	case late == ErrDeadline:
		msg := "no answer within " + limit.String()
		if !dead {
			msg += ", and it does not die of SIGKILL"
		}
		return nil, r.fail(c, status, withWords(msg, said), ErrDeadline)
	default:
		return nil, r.gaveUp(c, began, late, status, said)
	}
}

// maxLooks is how many calls may have a thread wait for the kernel. More wait for one of
// these to be answered: the Go runtime ends a process of ten thousand threads.
const maxLooks = 32

// looks has an entry for each call that has one.
var looks struct {
	once    sync.Once
	entries chan struct{}
}

// reach waits until the kernel has the runtime at hand, see [reaper.Reach], at most
// for limit; late says why it did not. The goroutine ends when the kernel answers.
func reach(ctx context.Context, prog *program, limit time.Duration) (late error) {
	looks.once.Do(func() { looks.entries = make(chan struct{}, maxLooks) })
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var done chan struct{}
	for enter := looks.entries; ; enter = nil {
		select {
		case enter <- struct{}{}:
			done = make(chan struct{})
			go func() {
				reaper.Reach(prog.path)
				<-looks.entries
				close(done)
			}()
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return ErrDeadline
		}
	}
}

// await waits for the end of the runtime. If it does not come within limit, or
// before the context's, the runtime is killed with all of its group, and late
// says why; dead is false if it did not even end then.
func await(ctx context.Context, p *reaper.Process, limit time.Duration) (late error, dead bool) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.Done():
		return nil, true
	case <-ctx.Done():
		late = ctx.Err()
	case <-timer.C:
		late = ErrDeadline
	}
	// ErrGone, if it has ended in this moment, is as good.
	_ = p.SignalGroup(unix.SIGKILL)
	timer.Reset(killGrace)
	select {
	case <-p.Done():
		return late, true
	case <-timer.C:
		return late, false
	}
}

// argv is the runtime's command line.
func (r *Runtime) argv(c *call, p *place) []string {
	argv := make([]string, 0, 9+len(c.args)+len(c.last))
	argv = append(argv, r.binary())
	if r.Root != "" {
		argv = append(argv, "--root", r.Root)
	}
	if p.log != "" {
		argv = append(argv, "--log", p.log)
	}
	argv = append(argv, "--log-format", "json")
	if r.SystemdCgroup {
		argv = append(argv, "--systemd-cgroup")
	}
	argv = append(argv, c.verb.String())
	argv = append(argv, c.args...)
	return append(argv, c.last...)
}

// fail is a failure with a message of our own.
func (r *Runtime) fail(c *call, status uint32, msg string, err error) *Error {
	return &Error{Runtime: filepath.Base(r.binary()), Verb: c.verb.String(), Message: msg, Status: status, Err: err}
}

// said is the failure of a runtime that has ended by itself. Words that it
// left before a signal ended it are kept, but prove nothing.
func (r *Runtime) said(c *call, status uint32, said string) *Error {
	switch {
	case signalOf(status) != 0:
		return r.fail(c, status, withWords(ending(status), said), nil)
	case said == "":
		return r.fail(c, status, ending(status), nil)
	default:
		return r.fail(c, status, said, meaning(c.verb, said))
	}
}

// gaveUp is the failure of a call whose context has ended.
func (r *Runtime) gaveUp(c *call, began time.Time, cause error, status uint32, said string) *Error {
	msg := fmt.Sprintf("given up after %s: %s", time.Since(began).Round(time.Millisecond), cause)
	return r.fail(c, status, withWords(msg, said), cause)
}

func withWords(msg, said string) string {
	if said == "" {
		return msg
	}
	return msg + ": " + said
}

// startError adds ErrNoRuntime to what the reaper said, if it was the binary
// and not the working directory that is missing or cannot be executed. The
// binary is then looked up anew by the next call: packages get upgraded.
func (r *Runtime) startError(prog *program, p *place, err error) error {
	r.found.CompareAndSwap(prog, nil)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES),
		errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.ETXTBSY), errors.Is(err, unix.ELOOP):
		if unix.Access(p.dir, unix.X_OK) == nil {
			return fmt.Errorf("%w: %w", ErrNoRuntime, err)
		}
	}
	return err
}
