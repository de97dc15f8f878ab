// Package criu finds a criu that works on this machine, for tests.
//
// It is the machine's own if that says that it works with this kernel. Else it is
// the one of a newer Debian release, fetched into a cache and started with the
// libraries that belong to it.
package criu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/debian"
)

// newer is where a criu comes from if the machine's does not do.
const newer = debian.Suite("forky")

// Need puts a criu that works in front of everything else in PATH, which is where
// runc looks for it. A machine on which there is none fails the test and is told
// why.
func Need(t testing.TB) {
	t.Helper()
	if err := inPath(); err != nil {
		t.Fatalf("CHECKPOINT AND RESTORE CANNOT BE TESTED ON THIS MACHINE: %v", err)
	}
}

var inPath = sync.OnceValue(func() error {
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
	if err != nil {
		return fmt.Errorf("%s check: %w: %s", path, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}
