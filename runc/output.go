package runc

import (
	"fmt"
	"os"
	"time"

	"github.com/holdfast-shim/holdfast/reaper"
	"golang.org/x/sys/unix"
)

// Of what a runtime prints for people to read, this much is kept of either end.
const keptOutput = 32 << 10

// maxAnswer bounds the output of verbs whose output is the answer: a state
// carries the container's annotations.
const maxAnswer = 16 << 20

// outputs is what a call reads of what its runtime prints: nothing where the
// descriptors are the container's.
type outputs struct {
	stdout output // the answer
	stderr output // complaints, from both descriptors unless one is the answer
	ours   []*os.File
}

// open gives the runtime its stdio. The outputs must be stopped.
func (c *call) open(a *reaper.Attr) (*outputs, error) {
	o := new(outputs)
	files := c.files
	if c.reads() {
		w, err := o.capture(&o.stderr, ends{headMax: keptOutput, tailMax: keptOutput})
		if err != nil {
			return nil, err
		}
		files[1], files[2] = w, w
	}
	if c.answer {
		w, err := o.capture(&o.stdout, ends{headMax: maxAnswer})
		if err != nil {
			o.stop()
			return nil, err
		}
		files[1] = w
	}
	a.Files = files[:]
	return o, nil
}

func (o *outputs) capture(out *output, keep ends) (*os.File, error) {
	w, err := out.capture(keep)
	if err == nil {
		o.ours = append(o.ours, w)
	}
	return w, err
}

// started closes our copies of the runtime's ends.
func (o *outputs) started() {
	for _, w := range o.ours {
		w.Close()
	}
	o.ours = nil
}

// stop ends the reading; see output.stop. It may be called more than once.
func (o *outputs) stop() {
	o.started()
	o.stdout.stop()
	o.stderr.stop()
}

// answer is the runtime's whole standard output.
func (o *outputs) answer() ([]byte, error) {
	if o.stdout.text.cut() {
		return nil, fmt.Errorf("its answer is longer than %d bytes", maxAnswer)
	}
	return o.stdout.text.head, nil
}

// output takes what a runtime writes to one pipe. It owns the pipe's read end
// and a goroutine that reads whatever comes, so that the runtime never waits
// for us; both end in stop.
type output struct {
	text ends
	r    *os.File
	end  chan struct{} // closed when the goroutine has ended
}

// capture makes a pipe and starts to read it. The write end is the caller's.
func (o *output) capture(keep ends) (w *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("pipe for the output: %w", err)
	}
	// Only our end: the runtime's stays blocking, as a program expects it.
	if err := unix.SetNonblock(p[0], true); err != nil {
		unix.Close(p[0])
		unix.Close(p[1])
		return nil, fmt.Errorf("pipe for the output: %w", err)
	}
	o.text = keep
	o.r = os.NewFile(uintptr(p[0]), "runtime output")
	o.end = make(chan struct{})
	go o.read()
	return os.NewFile(uintptr(p[1]), "runtime output"), nil
}

func (o *output) read() {
	defer close(o.end)
	buf := make([]byte, 4<<10)
	for {
		n, err := o.r.Read(buf)
		_, _ = o.text.Write(buf[:n])
		if err != nil {
			return // the last writer is gone, or stop said so
		}
	}
}

// stop ends the reading, with what is in the pipe now. It is called when the
// runtime has ended: what it wrote is there, and what a child of it still may
// write, which can hold the pipe open for ever, is of no interest.
func (o *output) stop() {
	if o.r == nil {
		return
	}
	_ = o.r.SetReadDeadline(time.Unix(1, 0))
	<-o.end
	_ = o.r.SetReadDeadline(time.Time{})
	if conn, err := o.r.SyscallConn(); err == nil {
		_ = conn.Read(func(fd uintptr) bool {
			o.rest(int(fd))
			return true // do not wait for more
		})
	}
	o.r.Close()
	o.r = nil
}

// rest reads what is in the pipe, and no more than fits into one: a child that
// goes on writing must not keep us here.
func (o *output) rest(fd int) {
	left, err := unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	if err != nil {
		return
	}
	buf := make([]byte, 4<<10)
	for left > 0 {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		_, _ = o.text.Write(buf[:n])
		left -= n
	}
}
