package harness

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// Output gathers bytes from several goroutines; the zero value is ready.
type Output struct {
	mu      sync.Mutex // guards buf and changed
	buf     bytes.Buffer
	changed chan struct{} // closed at the next write; nil when nobody waits
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

// Len is how many bytes have come.
func (o *Output) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Len()
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Bytes returns a copy of what has come.
func (o *Output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

// Wait returns when text has come.
func (o *Output) Wait(ctx context.Context, text string) error {
	for {
		o.mu.Lock()
		if bytes.Contains(o.buf.Bytes(), []byte(text)) {
			o.mu.Unlock()
			return nil
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %q in the output %q: %w", text, o, context.Cause(ctx))
		}
	}
}
