package cgroup

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// leaderless has the test binary play a process whose first thread has ended.
const leaderless = "HOLDFAST_CGROUP_LEADERLESS"

func init() {
	if os.Getenv(leaderless) == "" {
		return
	}
	go func() {
		runtime.LockOSThread()
		time.Sleep(time.Hour)
	}()
	time.Sleep(50 * time.Millisecond)
	// The functions init run on the first thread. It is gone with this.
	_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
}

// A program may end its first thread and go on with others (pthread_exit(3) in main).
// Version 1 shows it in the root group then.
func TestAProcessWhoseFirstThreadHasEndedIsSignalled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	group := newGroup(t)
	probe := of(t, start(t, group, "sleep 1000").Process.Pid)
	for _, way := range []struct {
		name string
		call func(*Group) error
	}{
		{"Kill", (*Group).Kill},
		{"Signal", func(g *Group) error { return g.Signal(unix.SIGKILL, -1) }},
	} {
		views(t, probe, func(t *testing.T, g *Group) {
			cmd := start(t, group, "export "+leaderless+"=1; exec "+self)
			stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
			eventually(t, "a process without its first thread", func() bool {
				b, err := os.ReadFile(stat)
				return err == nil && strings.Contains(string(b), ") Z ")
			})
			if err := way.call(g); err != nil {
				t.Fatalf("%s: %v", way.name, err)
			}
			dies(t, cmd)
		})
	}
}
