package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRecordIsOneJSONLineWithItsFields(t *testing.T) {
	var out bytes.Buffer
	l := New(&out, Level(0)).With(String("container", "c1"))
	l.Debug("not shown")
	l.Warn("runc was slow", String("exec", "e1"), Int("pid", 7), Err(errors.New("why")))

	var rec map[string]any
	if err := json.Unmarshal(out.Bytes(), &rec); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	for k, want := range map[string]any{"level": "warn", "msg": "runc was slow", "container": "c1", "exec": "e1", "pid": 7.0, "error": "why"} {
		if rec[k] != want {
			t.Errorf("%s = %v, want %v", k, rec[k], want)
		}
	}
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("want one line, got %q", out.String())
	}
}

func TestDebugRecordsAreShownWhenAsked(t *testing.T) {
	var out bytes.Buffer
	New(&out, Level(-4)).Debug("shown")
	if !strings.Contains(out.String(), "shown") {
		t.Errorf("got %q", out.String())
	}
}

func TestLevelsOfContainerd(t *testing.T) {
	for in, want := range map[int]string{-8: "debug", -4: "debug", 0: "info", 4: "warn", 8: "error", 12: "error", 99: "error"} {
		if got := Level(in).String(); got != want {
			t.Errorf("level %d is %s, want %s", in, got, want)
		}
	}
}

// openLog makes a log's fifo and opens it as the shim does.
func openLog(t *testing.T) (*Fifo, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := OpenFifo(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(f.Fd()) })
	return f, path
}

func openReader(t *testing.T, path string) *os.File {
	t.Helper()
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestFullFifoDropsLinesAndNeverBlocks(t *testing.T) {
	f, path := openLog(t)
	l := New(f, Level(0))
	for range 10_000 { // far more than a fifo holds, and nobody reads
		l.Info(strings.Repeat("x", 100))
	}
	r := openReader(t, path)
	buf := make([]byte, 1<<20)
	if n, err := r.Read(buf); n == 0 || err != nil {
		t.Errorf("the first lines were not kept for the reader: %d bytes, %v", n, err)
	}
}

// The stacks of a busy shim are more than a fifo holds.
func TestALineThatIsCutOffDoesNotSpoilTheNext(t *testing.T) {
	f, path := openLog(t)
	r := openReader(t, path)
	l := New(f, Level(0))
	buf := make([]byte, 1<<20)
	for _, msg := range []string{strings.Repeat("x", 100_000), "dropped, the fifo is full"} {
		l.Info(msg)
	}
	if n, err := r.Read(buf); err != nil || n == 0 || n >= 100_000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	l.Info("next")
	l.Info("and next")
	n, err := r.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(buf[:n]), "\n"), "\n")
	if len(lines) != 3 || lines[0] != "" || !json.Valid([]byte(lines[1])) || !json.Valid([]byte(lines[2])) {
		t.Errorf("after the rest of the line: %q", lines)
	}
}

func TestOpenFifoRefusesWhatIsNoFifo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFifo(path); err == nil || !strings.Contains(err.Error(), "not a fifo") {
		t.Errorf("got %v", err)
	}
}
