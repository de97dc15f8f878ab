package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newIO(t *testing.T, s Streams) *IO {
	t.Helper()
	p, err := NewIO(t.TempDir(), "c", s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestOutputOfAWriterThatCameAndWentIsAllThere(t *testing.T) {
	for range 200 {
		var out buffer
		p := newIO(t, Streams{Stdout: &out})
		w, err := os.OpenFile(p.Stdout, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString("quick"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		p.GiveUp()
		if err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out.String() != "quick" {
			t.Fatalf("got %q", &out)
		}
	}
}

func TestGivingUpEndsOutputsThatNobodyOpened(t *testing.T) {
	p := newIO(t, Streams{Stdout: io.Discard, Stderr: io.Discard})
	p.GiveUp()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestGivingUpDoesNotCutAWriterShort(t *testing.T) {
	var out buffer
	p := newIO(t, Streams{Stdout: &out})
	w, err := os.OpenFile(p.Stdout, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.WriteString("first ")
	p.GiveUp()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with a writer: %v", err)
	}
	w.WriteString("second")
	w.Close()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if out.String() != "first second" {
		t.Errorf("got %q", &out)
	}
}

func TestStdinReachesAReaderThatComesLate(t *testing.T) {
	p := newIO(t, Streams{Stdin: strings.NewReader("input")})
	r, err := os.OpenFile(p.Stdin, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != "input" {
		t.Errorf("read %q, %v", got, err)
	}
	<-p.inEnded
}

func TestCloseEndsWhatNobodyOpened(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	p := newIO(t, Streams{Stdin: r, Stdout: io.Discard})
	dir := filepath.Dir(p.Stdout)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the fifos' directory: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

func TestDetachLeavesTheFifosForTheNextDaemon(t *testing.T) {
	var first, second buffer
	p := newIO(t, Streams{Stdout: &first})
	// The shim keeps both ends open, so that no daemon's end is its own.
	w, err := os.OpenFile(p.Stdout, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Detach(); err != nil {
		t.Fatal(err)
	}
	w.WriteString("meanwhile")
	again, err := OpenIO("", p.Stdout, "", Streams{Stdout: &second})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := again.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if second.String() != "meanwhile" || first.String() != "" {
		t.Errorf("first %q, second %q", &first, &second)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestATerminalHasNoStderr(t *testing.T) {
	p := newIO(t, Streams{Stdout: io.Discard, Stderr: io.Discard, Terminal: true})
	if p.Stderr != "" || p.Stdout == "" {
		t.Errorf("stdout %q, stderr %q", p.Stdout, p.Stderr)
	}
}

func TestNoStreamsNeedNoDirectory(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "fifos")
	p, err := NewIO(parent, "c", Streams{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(parent); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// A writer that fails must not become a pipe that is full.
func TestOutputIsReadOnAfterItsWriterFailed(t *testing.T) {
	p := newIO(t, Streams{Stdout: failing{}})
	w, err := os.OpenFile(p.Stdout, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Error(err)
	}
	w.Close()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, unix.ENOSPC }

func TestTheLogsLastWordsAreRead(t *testing.T) {
	b, err := NewBundle(t.TempDir(), "", "ns", "c", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		var log buffer
		l, err := openLog(b, &log)
		if err != nil {
			t.Fatal(err)
		}
		w, err := os.OpenFile(filepath.Join(b.Path, "log"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.WriteString("panic: last words")
		w.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if log.String() != "panic: last words" {
			t.Fatalf("log %q", &log)
		}
		if err := l.Close(); err != nil {
			t.Errorf("a second close: %v", err)
		}
	}
}
