package reaper

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tracerEnv makes this binary a debugger of the process with that pid.
const tracerEnv = "HOLDFAST_REAPER_TEST_TRACES"

// trace is a debugger that does not look what has become of the process it is
// attached to, as one that sits at its prompt: not before it has a line of input.
func trace(pid int) error {
	runtime.LockOSThread()
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0); errno != 0 {
		return fmt.Errorf("ptrace: %w", errno)
	}
	fmt.Println("attached")
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return fmt.Errorf("wait: %w", err)
	}
	_, err := in.ReadString('\n')
	return err
}

// traced starts a process with such a debugger.
func traced(t *testing.T, r *Reaper) (p, tracer *Process, in *os.File) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, _ = sh(t, r, "echo; exec sleep 1000", nil)
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	ours, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	tracer, err = r.Start(&Attr{
		Path: self, Args: []string{self}, Env: append(os.Environ(), tracerEnv+"="+strconv.Itoa(p.Pid())),
		Files: []*os.File{theirs, out, os.Stderr},
	}, nil)
	theirs.Close()
	out.Close()
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(ours).ReadString('\n'); line != "attached\n" {
		t.Fatalf("the debugger said %q (%v)", line, err)
	}
	return p, tracer, in
}

// The kernel has it that a debugger learns of the end first, and the parent when it
// has. Until then the pidfd is readable and there is nothing to wait for.
func TestWhoIsDebuggedTakesNoProcessorWhenItHasEnded(t *testing.T) {
	r := newReaper(t)
	p, tracer, _ := traced(t, r)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitZombie(t, p.Pid())

	// Who asks again and again takes a processor's whole time, whatever processor it is.
	begin, before := time.Now(), processorTime(t)
	time.Sleep(time.Second)
	if used, passed := processorTime(t)-before, time.Since(begin); used > passed/2 {
		t.Errorf("%v of a processor were used up waiting for %v", used, passed)
	}
	select {
	case <-p.Done():
		t.Fatal("it was reaped in spite of its debugger: the test could not have failed")
	default:
	}
	if err := tracer.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Status != 128+uint32(unix.SIGKILL) {
		t.Errorf("ended with status %d", e.Status)
	}
}

func TestTheEndOfWhoIsDebuggedIsToldWhenItsDebuggerHasLooked(t *testing.T) {
	r := newReaper(t)
	p, tracer, in := traced(t, r)
	if err := p.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitZombie(t, p.Pid())
	if _, err := in.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Status != 128+uint32(unix.SIGKILL) {
		t.Errorf("ended with status %d", e.Status)
	}
	select {
	case <-tracer.Done():
		t.Error("the debugger has ended too: it is not this that was tested")
	default:
	}
	in.Close()
	ended(t, tracer)
}

// processorTime is what this process has used.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
