package mount

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// userNamespace returns a descriptor, which the caller closes, of a new user
// namespace with these mappings.
//
// A namespace is made by a process that enters it, and this one cannot: it has
// more than one thread. So a child does. It is stopped by ptrace(2) before it runs
// its first instruction and killed when its namespace is held by the descriptor.
// Its end is waited for here, unless the process' reaper was faster.
func userNamespace(uidmap, gidmap string) (int, error) {
	uids, err := parseIDMap(uidmap)
	if err != nil {
		return -1, fmt.Errorf("option uidmap=%s: %w", uidmap, err)
	}
	gids, err := parseIDMap(gidmap)
	if err != nil {
		return -1, fmt.Errorf("option gidmap=%s: %w", gidmap, err)
	}

	// The thread that starts a traced child is its tracer and must live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pidfd := -1
	pid, _, err := syscall.StartProcess("/proc/self/exe", []string{"userns"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: uids,
			GidMappings: gids,
			Ptrace:      true,
			Pdeathsig:   syscall.SIGKILL,
			PidFD:       &pidfd,
		},
	})
	if err != nil {
		return -1, fmt.Errorf("make user namespace for uidmap=%s, gidmap=%s: %w", uidmap, gidmap, err)
	}
	defer end(pid, pidfd)
	ns, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open user namespace: %w", err)
	}
	if pidfd >= 0 {
		// If the child is gone, its pid may have been another's when we looked.
		if err := unix.PidfdSendSignal(pidfd, 0, nil, 0); err != nil {
			unix.Close(ns)
			return -1, fmt.Errorf("open user namespace: %w", err)
		}
	}
	return ns, nil
}

// end kills the child and waits for it.
func end(pid, pidfd int) {
	if pidfd < 0 {
		// Without pidfds nobody else reaps: the child is ours until we wait for it.
		_ = unix.Kill(pid, unix.SIGKILL)
		_, _ = unix.Wait4(pid, nil, 0, nil)
		return
	}
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	for {
		// ECHILD when the reaper has reaped it: gone all the same.
		if err := unix.Waitid(unix.P_PIDFD, pidfd, nil, unix.WEXITED, nil); err != unix.EINTR {
			break
		}
	}
	unix.Close(pidfd)
}

// parseIDMap reads "container:host:length", several parted by commas.
func parseIDMap(s string) ([]syscall.SysProcIDMap, error) {
	var maps []syscall.SysProcIDMap
	for _, one := range strings.Split(s, ",") {
		fields := strings.Split(one, ":")
		if len(fields) != 3 {
			return nil, fmt.Errorf("%q is not container:host:length: %w", one, ErrOption)
		}
		var n [3]int
		for i, f := range fields {
			// The kernel's ids have 32 bits.
			v, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is not container:host:length: %w", one, ErrOption)
			}
			n[i] = int(v)
		}
		if n[2] == 0 {
			return nil, fmt.Errorf("%q maps nothing: %w", one, ErrOption)
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return maps, nil
}
