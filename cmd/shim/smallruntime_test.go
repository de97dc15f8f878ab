package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// CI and a developer build in one folder at the same time. A build that found the
// other's files half changed linked the runtime as it comes: larger, and without the
// patience that a machine without pids asks for.
func TestBuildsAtTheSameTimeAllGetTheSmallRuntime(t *testing.T) {
	dir := t.TempDir()
	var builds sync.WaitGroup
	for range 8 {
		builds.Go(func() {
			for range 5 {
				flag := smallRuntime(t, dir)
				if flag == "" {
					return
				}
				for file, constant := range map[string]string{
					"mspanset.go": "spanSetInitSpineCap = 8 ",
					"mheap.go":    "uintptr(4 << 10)\n",
					"retry.go":    "tries < 2000;",
				} {
					if text := replacement(t, flag, file); !strings.Contains(text, constant) {
						t.Errorf("%s has no %q", file, constant)
					}
				}
			}
		})
	}
	builds.Wait()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 4 {
		t.Errorf("left in the folder: %v (%v), want three sources and overlay.json", left, err)
	}
}

func smallRuntime(t *testing.T, dir string) (flag string) {
	t.Helper()
	cmd := exec.Command("./small-runtime", dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	flag = strings.TrimSpace(string(out))
	if err != nil || said.Len() > 0 || flag == "" {
		t.Errorf("small-runtime: %v: flag %q: %s", err, flag, said.String())
	}
	return flag
}

// replacement is what the flag has the compiler read instead of the runtime's file.
func replacement(t *testing.T, flag, file string) string {
	t.Helper()
	text, err := os.ReadFile(strings.TrimPrefix(flag, "-overlay="))
	if err != nil {
		t.Error(err)
		return ""
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &overlay); err != nil {
		t.Errorf("overlay: %v: %s", err, text)
		return ""
	}
	for from, to := range overlay.Replace {
		if strings.HasSuffix(from, "/runtime/"+file) {
			text, err := os.ReadFile(to)
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}
	}
	t.Errorf("the overlay does not name %s: %s", file, text)
	return ""
}
