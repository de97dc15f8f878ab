package reaper

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/thread"
)

const patience = 30 * time.Second

// TestMain makes whatever descriptors the caller of the tests left open
// invisible to the children, which are to be judged by what the reaper gives.
func TestMain(m *testing.M) {
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "close_range:", err)
		os.Exit(1)
	}
	if of := os.Getenv(tracerEnv); of != "" {
		pid, err := strconv.Atoi(of)
		if err == nil {
			err = trace(pid)
		}
		fmt.Fprintln(os.Stderr, "debugger:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func newReaper(t *testing.T) *Reaper {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// sh starts a shell script and returns what it printed on its first line.
func sh(t *testing.T, r *Reaper, script string, onExit func(Exit)) (*Process, string) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p, err := r.Start(&Attr{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ(), Files: []*os.File{nil, in, os.Stderr}}, onExit)
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(line)
}

// orphan leaves a child behind that this process inherits; when its parent is
// gone for sure, it is let go and ends with status.
func orphan(t *testing.T, r *Reaper, status int) int {
	t.Helper()
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	defer open.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	script := fmt.Sprintf("sh -c 'read x <&3; exit %d' >/dev/null & echo $!", status)
	parent, err := r.Start(&Attr{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Files: []*os.File{nil, in, os.Stderr, gate}}, nil)
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	ended(t, parent)
	return atoi(t, strings.TrimSpace(line))
}

func ended(t *testing.T, p *Process) Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Exit()
	case <-time.After(patience):
		t.Fatalf("process %d did not end", p.Pid())
		return Exit{}
	}
}

// awaitZombie returns when pid has ended, without reaping it.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pidfd_open %d: %v", pid, err)
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(patience.Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			t.Fatalf("process %d did not end: %v", pid, err)
		}
		return
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestExitStatusReachesItsOwner(t *testing.T) {
	r := newReaper(t)
	for _, c := range []struct {
		script string
		want   uint32
	}{
		{"exit 0", 0}, {"exit 7", 7}, {"exit 255", 255}, {"kill -TERM $$", 143}, {"kill -KILL $$", 137},
	} {
		p, _ := sh(t, r, c.script, nil)
		if e := ended(t, p); e.Status != c.want || e.Pid != p.Pid() || e.At.IsZero() {
			t.Errorf("%q ended as %+v, want status %d of process %d", c.script, e, c.want, p.Pid())
		}
	}
}

func TestEachOwnerHearsOfItsOwnExitOnce(t *testing.T) {
	r := newReaper(t)
	const n = 200
	var (
		mu    sync.Mutex
		heard = map[int]int{}
		wg    sync.WaitGroup
	)
	wg.Add(n)
	for i := range n {
		want := uint32(i % 250)
		go func() {
			_, err := r.Start(&Attr{Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprintf("exit %d", want)}}, func(e Exit) {
				mu.Lock()
				heard[i]++
				mu.Unlock()
				if e.Status != want {
					t.Errorf("owner %d was told status %d, want %d", i, e.Status, want)
				}
				wg.Done()
			})
			if err != nil {
				t.Error(err)
				wg.Done()
			}
		}()
	}
	wg.Wait()
	for i := range n {
		if heard[i] != 1 {
			t.Errorf("owner %d heard %d times of its exit", i, heard[i])
		}
	}
}

func TestZombieThatCameBeforeItsOwnerIsKept(t *testing.T) {
	r := newReaper(t)
	claim := r.Claim()
	defer claim.End()
	child := orphan(t, r, 7)
	awaitZombie(t, child)
	r.sweep() // whatever the signal's timing: a sweep has looked at it

	p, err := claim.Adopt(child, nil)
	if err != nil {
		t.Fatal(err)
	}
	claim.End()
	if e := ended(t, p); e.Status != 7 {
		t.Errorf("adopted zombie ended with %d, want 7", e.Status)
	}
}

func TestStrayIsReapedWhenNoClaimCanNameIt(t *testing.T) {
	r := newReaper(t)
	early, late := r.Claim(), (*Claim)(nil)
	defer early.End()
	stray := orphan(t, r, 3)
	awaitZombie(t, stray)
	r.sweep()
	if !isChild(stray) {
		t.Fatal("the stray was reaped while a claim that may name it was open")
	}
	late = r.Claim() // opened after the stray was seen: it cannot mean it
	defer late.End()
	early.End()
	if isChild(stray) {
		t.Error("the stray is still there though every claim that may name it has ended")
	}
}

func TestStrayBehindAnUndecidedOneIsReapedInTurn(t *testing.T) {
	r := newReaper(t)
	claim := r.Claim()
	defer claim.End()
	var strays []int
	for range 5 {
		strays = append(strays, orphan(t, r, 3))
		awaitZombie(t, strays[len(strays)-1])
	}
	claim.End()
	for _, pid := range strays {
		if isChild(pid) {
			t.Errorf("stray %d was left", pid)
		}
	}
}

func TestAdoptRefusesWhatIsNotOurs(t *testing.T) {
	r := newReaper(t)
	claim := r.Claim()
	defer claim.End()
	for _, pid := range []int{1, os.Getpid(), 1 << 30, 0, -1} {
		if _, err := claim.Adopt(pid, nil); !errors.Is(err, ErrNotChild) {
			t.Errorf("adopting %d: %v, want ErrNotChild", pid, err)
		}
	}
}

func TestOneProcessHasOneOwner(t *testing.T) {
	r := newReaper(t)
	claim := r.Claim()
	defer claim.End()
	parent, line := sh(t, r, "sh -c 'read x' </dev/ptmx >/dev/null 2>&1 & echo $!", nil)
	ended(t, parent)
	p, err := claim.Adopt(atoi(t, line), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claim.Adopt(p.Pid(), nil); err == nil {
		t.Error("a process was adopted twice")
	}
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if e := ended(t, p); e.Status != 137 {
		t.Errorf("killed process ended with %d", e.Status)
	}
	if err := p.Signal(0); !errors.Is(err, ErrGone) {
		t.Errorf("signal after the end: %v, want ErrGone", err)
	}
	if err := p.SignalGroup(unix.SIGKILL); !errors.Is(err, ErrGone) {
		t.Errorf("signal to the group after the end: %v, want ErrGone", err)
	}
}

func TestSignalGroupReachesGrandchildren(t *testing.T) {
	r := newReaper(t)
	claim := r.Claim()
	defer claim.End()
	p, line := sh(t, r, "sleep 1000 >/dev/null & echo $!; wait", nil)
	if err := p.SignalGroup(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, p)
	child, err := claim.Adopt(atoi(t, line), nil)
	if err != nil {
		t.Fatal(err)
	}
	if e := ended(t, child); e.Status != 137 {
		t.Errorf("grandchild ended with %d, want 137", e.Status)
	}
}

func TestStartOfWhatCannotRunIsAnErrorAndLeavesNothing(t *testing.T) {
	r := newReaper(t)
	if _, err := r.Start(&Attr{Path: "/nonexistent", Args: []string{"x"}}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("start of a missing file: %v", err)
	}
	if pid := firstZombie(); pid != 0 {
		t.Errorf("zombie %d was left", pid)
	}
}

func TestChildSeesOnlyTheFilesItWasGiven(t *testing.T) {
	r := newReaper(t)
	_, line := sh(t, r, "ls /proc/self/fd | tr '\\n' ' '", nil)
	if line != "0 1 2 3" { // 3 is ls's own directory
		t.Errorf("child has descriptors %q", line)
	}
}

func TestChildDoesNotInheritTheOOMScore(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("77"), 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.WriteFile(file, before, 0) }()
	r := newReaper(t)
	// It looks when it is told to, which is after Start has returned.
	gate, open, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	_, err = r.Start(&Attr{Path: "/bin/sh", Args: []string{"sh", "-c", "read x; cat " + file}, Env: os.Environ(), Files: []*os.File{gate, in}}, nil)
	in.Close()
	open.Close()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(out); err != nil || string(got) != "0\n" {
		t.Errorf("the child's score is %q, %v", got, err)
	}
}

// A program that is killed at its parent's death is killed when the thread ends that
// forked it, and threads end: with a mount that needs one to itself, in a pod also for
// another container.
func TestAProgramOutlivesTheThreadsThatEndMeanwhile(t *testing.T) {
	r := newReaper(t)
	var programs []*Process
	for range 8 {
		p, _ := sh(t, r, "echo; exec sleep 1000", nil)
		programs = append(programs, p)
	}
	for range 100 {
		if err := thread.Last(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	thread.EndIdle(0)
	for _, p := range programs {
		select {
		case <-p.Done():
			t.Errorf("a program ended with status %d", p.Exit().Status)
		default:
			if err := p.Signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
		}
		ended(t, p)
		if s := p.Exit().Status; s != 128+uint32(unix.SIGTERM) {
			t.Errorf("it ended with status %d, want that of SIGTERM", s)
		}
	}
}

// Nobody would learn of its end, nor end it.
func TestAChildThatCannotBeWatchedIsKilled(t *testing.T) {
	r := newReaper(t)
	c := r.Claim()
	defer c.End()
	parent, line := sh(t, r, "sleep 1000 >/dev/null 2>&1 & echo $!", nil)
	ended(t, parent)
	pid := atoi(t, line)

	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := c.Adopt(pid, func(Exit) { t.Error("its end was told") })
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("adopted without a descriptor: %v", err)
	}
	awaitZombie(t, pid)
}
