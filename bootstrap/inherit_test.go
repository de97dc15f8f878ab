package bootstrap

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
)

func scoreOf(t *testing.T, pid string) int {
	t.Helper()
	score, err := oomScore("/proc/" + pid + "/oom_score_adj")
	if err != nil {
		t.Fatal(err)
	}
	return score
}

func TestTheKernelEndsAShimBeforeItsStarter(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	pid := shimPid(t, n.mustStart("c1"))
	if own, shims := scoreOf(t, "self"), scoreOf(t, strconv.Itoa(pid)); shims != min(own+1, 1000) {
		t.Errorf("the starter has %d, the shim %d", own, shims)
	}
}

// The score is the starter's parent's, not what the starter happens to have.
// Where it cannot be lowered it stays.
func TestAScoreThatCannotBeLoweredIsNoFailure(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	inner := n.command("c1", "start")
	cmd := exec.Command("/bin/sh", append([]string{"-c", `echo 500 > /proc/self/oom_score_adj && exec "$@"`, "sh", os.Args[0]}, inner.Args[1:]...)...)
	cmd.Dir, cmd.Env = inner.Dir, inner.Env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	address, err := bundle.ReadAddress(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := 500
	if canLower(t) {
		want = scoreOf(t, "self") + 1
	}
	if got := scoreOf(t, strconv.Itoa(shimPid(t, address))); got != want {
		t.Errorf("the shim has %d, want %d", got, want)
	}
}

// canLower tries it out in a process of its own.
func canLower(t *testing.T) bool {
	t.Helper()
	return exec.Command("/bin/sh", "-c", "echo 500 > /proc/self/oom_score_adj; exec sh -c 'echo 400 > /proc/self/oom_score_adj' 2>/dev/null").Run() == nil
}

func TestTheScoreIsTheParentsAndOne(t *testing.T) {
	for _, c := range []struct{ own, parents, want string }{
		{"0\n", "0\n", "1"},
		{"-999\n", "-999\n", "-998"},
		{"1000\n", "1000\n", "1000\n"},
		{"0\n", "1000\n", "1000"},
		{"7\n", "3\n", "4"},
		{"4\n", "3\n", "4\n"},
	} {
		proc := t.TempDir()
		parent := strconv.Itoa(os.Getppid())
		for dir, score := range map[string]string{"self": c.own, parent: c.parents} {
			if err := os.Mkdir(filepath.Join(proc, dir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(proc, dir, "oom_score_adj"), []byte(score), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := raiseOOMScore(proc); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		if got, _ := os.ReadFile(filepath.Join(proc, "self", "oom_score_adj")); string(got) != c.want {
			t.Errorf("%+v: set to %q", c, got)
		}
	}
	if err := raiseOOMScore(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without procfs: %v", err)
	}
}

func TestTheShimJoinsTheCgroupThatItsOptionsName(t *testing.T) {
	name := "holdfast-test-" + strconv.Itoa(os.Getpid())
	var made []string
	for _, pattern := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(pattern, "cgroup.procs")); err != nil {
			continue
		}
		dir := filepath.Join(pattern, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		made = append(made, dir)
	}
	if len(made) == 0 {
		t.Fatal("this machine has no cgroups")
	}
	n := newNode(t)
	n.bundle("c1", nil)
	// After the shim is gone.
	t.Cleanup(func() {
		killChildren(t)
		for _, dir := range made {
			eventually(t, "the end of "+dir, func() bool { return os.Remove(dir) == nil || !exists(dir) })
		}
	})
	b, err := pack(t, &runcopts.Options{ShimCgroup: "/" + name}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.command("c1", "start")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pid := strconv.Itoa(shimPid(t, string(out)))
	for _, dir := range made {
		procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || strings.TrimSpace(string(procs)) != pid {
			t.Errorf("%s holds %q, %v; the shim is %s", dir, procs, err, pid)
		}
	}
}

// Where the machine cannot, start says so: nobody should believe in an isolation
// that is not there.
func TestCoreSchedulingIsHadOrRefused(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	cmd := n.command("c1", "start")
	cmd.Env = append(cmd.Env, "SCHED_CORE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if !coreSchedulingPossible() {
		if err == nil || len(out) > 0 || !strings.Contains(stderr.String(), ErrNoSchedCore.Error()) {
			t.Errorf("answered %q, %v, said %q", out, err, stderr.String())
		}
		n.nothingLeft("c1")
		return
	}
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if cookie(t, shimPid(t, string(out))) == 0 {
		t.Error("the shim has no cookie")
	}
	if cookie(t, os.Getpid()) != 0 {
		t.Error("the starter's parent has one")
	}
}

// coreSchedulingPossible asks for our own cookie, which changes nothing.
func coreSchedulingPossible() bool {
	_, err := schedCoreGet(os.Getpid())
	return err == nil
}

func cookie(t *testing.T, pid int) uint64 {
	t.Helper()
	c, err := schedCoreGet(pid)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func schedCoreGet(pid int) (cookie uint64, err error) {
	err = unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, uintptr(pid), unix.PR_SCHED_CORE_SCOPE_THREAD, uintptr(unsafe.Pointer(&cookie)))
	return cookie, err
}

func TestDescriptorsAreKeptFromChildrenByEitherWay(t *testing.T) {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExec(); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(1, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("stdout's flags %#x, %v", flags, err)
	}
	unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	if err := closeEachOnExec(); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(1, unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
		t.Errorf("stdout's flags %#x, %v", flags, err)
	}
}
