package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// runDir is where daemons, shims and the runtime keep what lives no longer than
// the machine is up.
const runDir = "/run/containerd"

// runInMemory sees to it that runDir is a tmpfs, as /run is on every node. Where
// it lies on a disk, which some virtual machines have it do, each step would be
// timed with the disk's moods in it: then this program begins again in a mount
// namespace of its own that has one.
func runInMemory() error {
	if err := os.MkdirAll(runDir, 0o711); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(runDir, &fs); err != nil {
		return fmt.Errorf("look at %s: %w", runDir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC {
		return nil
	}
	// The namespace is that of the thread that executes the program.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mount namespace private: %w", err)
	}
	if err := unix.Mount("tmpfs", runDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=711"); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", runDir, err)
	}
	if err := unix.Exec("/proc/self/exe", os.Args, os.Environ()); err != nil {
		return fmt.Errorf("begin again: %w", err)
	}
	return nil
}
