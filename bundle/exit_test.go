package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestExitRecordTellsLaterHowInitEnded(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadExitRecord(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before the exit: %v", err)
	}
	want := ExitRecord{Pid: 4711, Status: 137, ExitedAt: time.Unix(1700000000, 123456789).UTC()}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "exit.json"))
	if err != nil {
		t.Fatal(err)
	}
	if s := string(b); s != `{"pid":4711,"status":137,"exited_at":"2023-11-14T22:13:20.123456789Z"}`+"\n" {
		t.Errorf("wrote %s", s)
	}
	got, err := ReadExitRecord(dir)
	if err != nil || got != want {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestExitedAtKeepsItsMomentInEveryZone(t *testing.T) {
	dir := t.TempDir()
	at := time.Unix(1700000000, 5).In(time.FixedZone("there", 5*3600+1800))
	if err := (ExitRecord{Pid: 1, ExitedAt: at}).Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := ReadExitRecord(dir)
	if err != nil || !got.ExitedAt.Equal(at) {
		t.Errorf("read %v, %v; wrote %v", got.ExitedAt, err, at)
	}
}

func TestHalfAnExitRecordIsNone(t *testing.T) {
	whole := `{"pid":4711,"status":3,"exited_at":"2023-11-14T22:13:20.1Z"}`
	for cut := range len(whole) {
		if _, err := ParseExitRecord([]byte(whole[:cut])); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d bytes: %v", cut, err)
		}
	}
	for _, bad := range []string{
		`{}`, `null`, `[]`, `3`,
		`{"status":3,"exited_at":"2023-11-14T22:13:20Z"}`,
		`{"pid":0,"status":3,"exited_at":"2023-11-14T22:13:20Z"}`,
		`{"pid":-1,"status":3,"exited_at":"2023-11-14T22:13:20Z"}`,
		`{"pid":1,"exited_at":"2023-11-14T22:13:20Z"}`,
		`{"pid":1,"status":-3,"exited_at":"2023-11-14T22:13:20Z"}`,
		`{"pid":1,"status":3}`,
		`{"pid":1,"status":3,"exited_at":"yesterday"}`,
		`{"pid":1,"status":3,"exited_at":"0001-01-01T00:00:00Z"}`,
	} {
		if r, err := ParseExitRecord([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %+v, %v", bad, r, err)
		}
	}
	if r, err := ParseExitRecord([]byte(`{"pid":1,"status":3,"exited_at":"2023-11-14T22:13:20Z","later":{"more":[1]}}`)); err != nil || r.Status != 3 {
		t.Errorf("with a field of a later release: %+v, %v", r, err)
	}
}

func FuzzExitRecord(f *testing.F) {
	f.Add([]byte(`{"pid":4711,"status":3,"exited_at":"2023-11-14T22:13:20.1Z"}`))
	f.Add([]byte(`{"pid":4711,"status":3,"exited_at":"9999-12-31T23:59:59.999999999+23:59"}`))
	f.Add([]byte(`{}`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseExitRecord(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if r.ExitedAt.Year() > 9999 || r.ExitedAt.Year() < 0 {
			return // a zone took it out of what RFC 3339 can write
		}
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		if back, err := ReadExitRecord(dir); err != nil || back != r {
			t.Fatalf("%+v came back as %+v, %v", r, back, err)
		}
	})
}
