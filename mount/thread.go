package mount

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// inDir runs f in a thread whose working directory is dir, the process keeping its
// own. The thread shares everything else, descriptors too, and ends with f: it
// cannot be given back (unshare(2) cannot be undone), so the goroutine returns
// without unlocking it, which makes the Go runtime end it.
func inDir(dir string, f func() error) error {
	errs := make(chan error, 1)
	go func() {
		errs <- onOwnThread(func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return call("unshare working directory", err)
			}
			if err := unix.Chdir(dir); err != nil {
				return call("chdir "+dir, err)
			}
			return f()
		})
	}()
	return <-errs
}

// onOwnThread runs f on a thread that no other goroutine will run on again. The
// calling goroutine has to return after it. The runtime cannot end the process'
// first thread, and what that one's working directory is the world reads in
// /proc/PID/cwd: if we were put on it, another goroutine does the work.
func onOwnThread(f func() error) error {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		return f()
	}
	errs := make(chan error, 1)
	go func() { errs <- onOwnThread(f) }()
	err := <-errs
	runtime.UnlockOSThread()
	return err
}
