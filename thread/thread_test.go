package thread

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLastRunsWhereNobodyElseWillRun(t *testing.T) {
	const n = 50
	used := make(map[int]bool)
	for range n {
		want := errors.New("what f returns")
		var id int
		if err := Last(func() error { id = unix.Gettid(); return want }); err != want {
			t.Fatalf("got %v, want %v", err, want)
		}
		if id == unix.Getpid() {
			t.Fatal("it ran on the process's first thread")
		}
		used[id] = true
	}
	eventually(t, "the threads have ended", func() bool {
		for id := range used {
			if unix.Tgkill(unix.Getpid(), id, 0) == nil {
				return false
			}
		}
		return true
	})
}

// mortal starts a child that dies with the thread that forks it, which is not the
// first one: that one never ends.
func mortal(t *testing.T) (alive func() bool, free func()) {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var start func() error
	start = func() error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err := make(chan error)
			go func() { err <- start() }()
			return <-err
		}
		free = Keep()
		return cmd.Start()
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return func() bool {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
			t.Fatal(err)
		}
		return info.Signo == 0
	}, free
}

func TestAThreadThatIsKeptOutlivesAllThatEnd(t *testing.T) {
	alive, free := mortal(t)
	for range 200 {
		if err := Last(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	EndIdle(0)
	if !alive() {
		t.Fatal("the thread of a child was ended, and the child with it")
	}
	// Otherwise the test could not have failed.
	free()
	eventually(t, "a thread that is free ends", func() bool {
		EndIdle(0)
		return !alive()
	})
}

func TestKeptTwiceIsFreeWhenBothAreFreed(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	id := unix.Gettid()
	was := kept.count[id]
	first, second := Keep(), Keep()
	first()
	if kept.count[id] != was+1 || mayEnd(id) {
		t.Error("the second one is not heeded")
	}
	second()
	if kept.count[id] != was {
		t.Error("it is kept for nobody")
	}
}

func TestThreadsOfABusyMomentAreEnded(t *testing.T) {
	const busy = 20
	before := Count()
	if entries, err := os.ReadDir("/proc/self/task"); err != nil || before == 0 || len(entries) < before {
		t.Fatalf("counted %d threads; there are %d (%v)", before, len(entries), err)
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range busy {
		done.Go(func() { unix.Read(fds[0], make([]byte, 1)) }) // not in the poller: it takes a thread
	}
	eventually(t, "each of them has a thread", func() bool { return Count() >= busy })
	unix.Close(fds[1])
	done.Wait()
	unix.Close(fds[0])

	eventually(t, "they are ended", func() bool {
		EndIdle(before)
		return Count() <= before
	})
}

func TestThreadsInReserveAreThereAtOnce(t *testing.T) {
	n := Count() + 10
	Reserve(n)
	if got := Count(); got < n {
		t.Errorf("%d threads, want %d", got, n)
	}
	Reserve(0)
	eventually(t, "they can be ended", func() bool {
		EndIdle(n - 10)
		return Count() <= n-10
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s; there are %d threads", what, Count())
		}
	}
}
