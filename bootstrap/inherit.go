package bootstrap

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/cgroup"
)

// ErrNoSchedCore says that core scheduling was asked for and is not to be had.
var ErrNoSchedCore = errors.New("core scheduling is not possible here: it needs a kernel with CONFIG_SCHED_CORE (5.14) and a CPU with SMT on")

// becomeLikeShim gives this process all that the shim is to inherit from it.
func becomeLikeShim(r request, env environ) error {
	if err := closeOnExec(); err != nil {
		return err
	}
	if env.get("SCHED_CORE") != "" {
		if err := ownCore(); err != nil {
			return err
		}
	}
	if path := r.options.ShimCgroup; path != "" {
		if err := cgroup.Join(path, os.Getpid()); err != nil {
			return fmt.Errorf("join the shim's cgroup: %w", err)
		}
	}
	return raiseOOMScore("/proc")
}

// closeOnExec keeps every descriptor but the standard ones from programs that
// this process starts. What whoever started us forgot to close would otherwise
// live as long as the shim, and be seen by containers.
func closeOnExec() error {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	// ENOSYS before Linux 5.9, EINVAL for the flag before 5.11.
	return closeEachOnExec()
}

func closeEachOnExec() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("keep descriptors from the shim: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd) // the listing's own is closed by now, which does no harm
		}
	}
	return nil
}

// ownCore gives this process, all its threads, a core-scheduling cookie of its
// own: only what it starts shares a core with it. It fails where the kernel
// cannot: containerd's configuration asked for isolation, and a shim without
// it would look as if it had it.
func ownCore() error {
	err := unix.Prctl(unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_CREATE, 0, unix.PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0)
	if err == unix.EINVAL || err == unix.ENODEV {
		return fmt.Errorf("%w (SCHED_CORE is set): %w", ErrNoSchedCore, err)
	}
	if err != nil {
		return fmt.Errorf("make a core-scheduling group: %w", err)
	}
	return nil
}

const maxOOMScore = 1000

// raiseOOMScore sets this process's oom_score_adj to that of its parent + 1, at
// most 1000, so that the kernel ends a shim before it ends containerd. proc is
// where procfs is mounted.
func raiseOOMScore(proc string) error {
	own, err := oomScore(proc + "/self/oom_score_adj")
	if err != nil {
		return fmt.Errorf("read the OOM score: %w", err)
	}
	parents := own
	// Without a parent in our pid namespace, take the score that it gave us.
	if ppid := os.Getppid(); ppid > 0 {
		if parents, err = oomScore(proc + "/" + strconv.Itoa(ppid) + "/oom_score_adj"); err != nil {
			return fmt.Errorf("read the OOM score of the parent: %w", err)
		}
	}
	wanted := min(parents+1, maxOOMScore)
	if wanted == own {
		return nil
	}
	err = os.WriteFile(proc+"/self/oom_score_adj", strconv.AppendInt(nil, int64(wanted), 10), 0)
	if errors.Is(err, unix.EACCES) && wanted < own {
		return nil // lowering is a privilege; see the package's comment
	}
	if err != nil {
		return fmt.Errorf("set the OOM score to %d: %w", wanted, err)
	}
	return nil
}

func oomScore(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
