package main

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// output is one of the tool's own outputs while a container writes to it. What
// comes before the container was made is held back: it is the runtime's, which
// says on the container's stderr what it answers to the shim as well.
type output struct {
	file    *os.File
	decided chan struct{} // closed by pass or drop
	dropped bool          // read after decided is closed
	once    sync.Once
	broken  chan struct{} // closed when the output's reader has gone away
}

func newOutput(f *os.File) *output {
	return &output{file: f, decided: make(chan struct{}), broken: make(chan struct{})}
}

// pass lets through what was written and what comes.
func (o *output) pass() { close(o.decided) }

// drop throws it away.
func (o *output) drop() {
	o.dropped = true
	close(o.decided)
}

func (o *output) Write(p []byte) (int, error) {
	<-o.decided
	if o.dropped {
		return len(p), nil
	}
	n, err := o.file.Write(p)
	if errors.Is(err, unix.EPIPE) {
		o.once.Do(func() { close(o.broken) })
	}
	return n, err
}

// tailWriter keeps the last bytes that were written to it, and passes all on.
type tailWriter struct {
	to io.Writer // may be nil

	mu   sync.Mutex // guards tail
	tail []byte
}

const tailSize = 4 << 10

func (t *tailWriter) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.tail = append(t.tail, p...)
	if over := len(t.tail) - tailSize; over > 0 {
		t.tail = append(t.tail[:0], t.tail[over:]...)
	}
	t.mu.Unlock()
	if t.to != nil {
		t.to.Write(p)
	}
	return len(p), nil
}

func (t *tailWriter) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.tail)
}
