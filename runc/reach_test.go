package runc

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/thread"
)

// A disk that does not answer for a day, and a probe every few seconds: each call is
// given up in time, and not all of them have a thread wait.
func TestCallsOfARuntimeThatCannotBeReadDoNotTakeAllThreads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runc")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Nobody decides: who opens it waits until this is closed.
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		t.Fatalf("a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS is missing: fanotify_init: %v", err)
	}
	held := true
	letGo := func() {
		if held {
			unix.Close(fd)
			held = false
		}
	}
	defer letGo()
	if err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM, -1, path); err != nil {
		t.Fatalf("a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS is missing: fanotify_mark: %v", err)
	}
	prog := &program{path: path}
	const calls = 3 * maxLooks
	before := thread.Count()
	for range calls {
		if late := reach(t.Context(), prog, 5*time.Millisecond); late != ErrDeadline {
			t.Fatalf("the binary was reached: %v", late)
		}
	}
	if n := thread.Count() - before; n > 2*maxLooks {
		t.Errorf("%d calls have %d threads more than there were", calls, n)
	}
	letGo()
	for range calls {
		if late := reach(t.Context(), prog, patience); late != nil {
			t.Errorf("when the kernel answers again: %v", late)
		}
	}
}
