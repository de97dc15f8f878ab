package pidfd

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAProcessIsHeld(t *testing.T) {
	fd, err := Open(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		t.Error(err)
	}
}

func TestNobodyIsFoundByTheNumberOfOneThatHasGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(cmd.Process.Pid); !errors.Is(err, unix.ESRCH) {
		t.Errorf("%v, want ESRCH", err)
	}
}

// The kernel's answer is what it also says, up to Linux 6.14, of a process that is
// being reaped.
func TestNobodyIsFoundByTheNumberOfAThread(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	if tid == os.Getpid() {
		other := make(chan int)
		stay := make(chan struct{})
		defer close(stay)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			other <- unix.Gettid()
			<-stay
		}()
		tid = <-other
	}
	if _, err := Open(tid); !errors.Is(err, unix.ESRCH) {
		t.Errorf("%v, want ESRCH", err)
	}
}

func TestANumberThatNoProcessCanHaveIsAnError(t *testing.T) {
	for _, pid := range []int{0, -1} {
		if _, err := Open(pid); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%d: %v, want EINVAL", pid, err)
		}
	}
}
