package reaper

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests here decide which number the kernel gives to the next process, which
// is only theirs to say in a pid namespace of their own. There this variable is
// set.
const insideEnv = "HOLDFAST_REAPER_TEST_OWN_PIDS"

// withOwnPids runs a test once more in a pid namespace of its own.
func withOwnPids(t *testing.T, test func(*testing.T)) {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		test(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Fatal("a pid namespace needs root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--fork", "--pid", "--mount-proc", self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a pid namespace of its own: %v\n%s", err, out)
	}
}

// nextPid has the kernel give the next process that number, if it is free.
func nextPid(t *testing.T, pid int) {
	t.Helper()
	err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0)
	if err != nil {
		t.Fatalf("a kernel with CONFIG_CHECKPOINT_RESTORE is missing: %v", err)
	}
}

// recycled returns a process that has ended with 3 and one that runs under its
// number.
func recycled(t *testing.T, r *Reaper, onExit func(Exit)) (first, second *Process) {
	t.Helper()
	for range 1000 {
		first, _ = sh(t, r, "exit 3", onExit)
		ended(t, first)
		nextPid(t, first.Pid())
		second, _ = sh(t, r, "echo; exec sleep 1000", nil)
		if second.Pid() == first.Pid() {
			return first, second
		}
		// A thread of this process was faster. It may live as long as the process
		// does, so that the number is lost: the next try is for another's.
		_ = second.Signal(unix.SIGKILL)
		ended(t, second)
	}
	t.Fatal("no process has got the number of one that has ended")
	return nil, nil
}

// containerd 9175, moby 53211.
func TestAProcessIsNotTakenForTheOneThatHadItsPidBefore(t *testing.T) {
	withOwnPids(t, func(t *testing.T) {
		r := newReaper(t)
		told := map[int]int{}
		first, second := recycled(t, r, func(e Exit) { told[e.Pid]++ })
		if err := first.Signal(unix.SIGKILL); !errors.Is(err, ErrGone) {
			t.Errorf("signal to the first: %v", err)
		}
		if err := first.SignalGroup(unix.SIGKILL); !errors.Is(err, ErrGone) {
			t.Errorf("signal to the group of the first: %v", err)
		}
		// SIGTERM is what it has to die of, not what was meant for the first.
		if err := second.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if e := ended(t, second); e.Status != 128+uint32(unix.SIGTERM) {
			t.Errorf("the second ended with %d", e.Status)
		}
		if e := first.Exit(); told[first.Pid()] != 1 || e.Status != 3 {
			t.Errorf("the first was told %d times, and its status is %d", told[first.Pid()], e.Status)
		}
	})
}

// The end of an exec may come before the runtime has said its pid.
func TestThePidOfAProcessWhoseOwnerIsStillToComeIsNobodyElses(t *testing.T) {
	withOwnPids(t, func(t *testing.T) {
		r := newReaper(t)
		claim := r.Claim()
		defer claim.End()
		pid := orphan(t, r, 7)
		awaitZombie(t, pid)
		for range 50 {
			nextPid(t, pid)
			p, _ := sh(t, r, "exit 9", nil)
			if ended(t, p); p.Pid() == pid {
				t.Fatal("another process has got the number")
			}
		}
		p, err := claim.Adopt(pid, nil)
		if err != nil {
			t.Fatal(err)
		}
		if e := ended(t, p); e.Status != 7 {
			t.Errorf("the status is %d, which is another's", e.Status)
		}
	})
}
