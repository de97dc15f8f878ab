package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/debian"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// newer is where a criu comes from if the machine's does not do.
const newer = debian.Suite("forky")

// criu puts a criu that works into PATH, for the shims of this process.
var criu = sync.OnceValue(func() error {
	own := check("criu")
	if own == nil {
		return nil
	}
	tree, err := debian.Keep(context.Background(), "criu-"+string(newer), []string{"usr/sbin/criu"},
		func(ctx context.Context, dir string) error { return newer.UnpackAll(ctx, dir, "criu") })
	if err != nil {
		return fmt.Errorf("this machine's criu does not do (%w), and another cannot be fetched: %w", own, err)
	}
	bin := filepath.Join(tree, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	script := filepath.Join(bin, "criu")
	if err := debian.Wrap(script, tree, "usr/sbin/criu"); err != nil {
		return err
	}
	if err := check(script); err != nil {
		return fmt.Errorf("neither this machine's criu does (%w) nor %s's: %w", own, newer, err)
	}
	return os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
})

// check asks a criu whether it can do its work on this kernel.
func check(path string) error {
	out, err := exec.Command(path, "check").CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s check: %w: %s", path, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}

// start starts a daemon whose shims find a criu that works.
func start(t *testing.T, options ...harness.Option) *harness.Daemon {
	t.Helper()
	if err := criu(); err != nil {
		t.Fatalf("CHECKPOINT AND RESTORE CANNOT BE TESTED ON THIS MACHINE: %v", err)
	}
	return harness.New(t, options...)
}

func inodeOf(st os.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }
