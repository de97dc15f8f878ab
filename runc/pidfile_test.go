package runc

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadPidFile(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		content string
		pid     int
		err     string
	}{
		{"1", 1, ""},
		{"4194304", 4194304, ""},
		{"123\n", 123, ""},
		{"", 0, "empty"},
		{"\n", 0, "not a pid"},
		{"0", 0, "not a pid"},
		{"-1", 0, "not a pid"},
		{"+1", 0, "not a pid"},
		{"007", 0, "not a pid"},
		{"12 ", 0, "not a pid"},
		{"12\n\n", 0, "not a pid"},
		{"12\x00", 0, "not a pid"},
		{"4194305", 0, "not a pid"},
		{"99999999999999", 0, "not a pid"},
		{"12garbage", 0, "not a pid"},
		{strings.Repeat("1", 1<<20), 0, "too long"},
	} {
		file := filepath.Join(dir, "init.pid")
		if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		pid, err := ReadPidFile(file)
		switch {
		case test.err == "" && (err != nil || pid != test.pid):
			t.Errorf("%.20q: %d, %v", test.content, pid, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || !strings.Contains(err.Error(), file)):
			t.Errorf("%.20q: %d, %v; want an error that says %q and names the file", test.content, pid, err, test.err)
		}
	}
}

func TestReadPidFileThatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadPidFile(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := ReadPidFile(dir); err == nil {
		t.Error("a directory was taken for a pid file")
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPidFile(fifo); err == nil {
		t.Error("a fifo was taken for a pid file")
	}
}

func FuzzPidFile(f *testing.F) {
	for _, s := range []string{"", "1", "12\n", "4194304", "0", "-3", "1 2", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pid, err := parsePid(strings.NewReader(s))
		if err != nil {
			return
		}
		if pid < 1 || pid > maxPid || strconv.Itoa(pid) != strings.TrimSuffix(s, "\n") {
			t.Errorf("%q was read as %d", s, pid)
		}
	})
}
