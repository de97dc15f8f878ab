package bootstrap

import (
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuse has the kernel answer a system call of this thread with an error from now on.
func refuse(call uint32, errno unix.Errno) error {
	filter := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); e != 0 {
		return e
	}
	return nil
}

// A server ends at an error that is not temporary, and the shim with it.
func TestWhatKeepsTheKernelFromAcceptingIsNotTheEndOfListening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(Flags{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, errno := range []unix.Errno{unix.ENOMEM, unix.ENOBUFS, unix.EPERM, unix.EMFILE} {
		errs := make(chan error, 1)
		go func() {
			runtime.LockOSThread() // which ends with the goroutine
			if err := refuse(unix.SYS_ACCEPT4, errno); err != nil {
				errs <- err
				return
			}
			_, err := l.Accept()
			errs <- err
		}()
		err := <-errs
		var temporary interface{ Temporary() bool }
		if !errors.Is(err, errno) || !errors.As(err, &temporary) || !temporary.Temporary() {
			t.Errorf("%v: Accept says %v", errno, err)
		}
	}
	got, err := l.Accept()
	if err != nil {
		t.Fatalf("afterwards: %v", err)
	}
	got.Close()
	l.Close()
	var temporary interface{ Temporary() bool }
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) || errors.As(err, &temporary) && temporary.Temporary() {
		t.Errorf("after Close: %v", err)
	}
}
