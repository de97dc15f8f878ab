package harness

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/log"

	"github.com/holdfast-shim/holdfast/client"
)

// ShimName is the file name of the shim's binary.
const ShimName = "containerd-shim-holdfast-v2"

// run holds what all tests of one test binary share.
var run struct {
	dir    string
	once   sync.Once
	shim   string
	rootfs string
	err    error

	toolOnce sync.Once
	tool     string
	toolErr  error
}

// Main runs the tests of a package that uses this one; its TestMain must call it.
func Main(m *testing.M) {
	// The ttrpc package reports to stderr what came too late to matter.
	log.L.Logger.SetOutput(io.Discard)
	code := m.Run()
	if run.dir != "" {
		os.RemoveAll(run.dir)
	}
	os.Exit(code)
}

// setUp builds the shim, unless HOLDFAST_SHIM names one, and makes the root
// filesystem that tests put under their containers.
func setUp(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT PASSED: end-to-end tests make containers and need root")
	}
	run.once.Do(func() {
		if RaceEnabled {
			// The race detector's runtime sleeps for a second at every exit, and
			// the shim's environment is ours.
			os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
		}
		if run.dir, run.err = os.MkdirTemp("", "holdfast-run"); run.err != nil {
			return
		}
		run.rootfs = filepath.Join(run.dir, "rootfs")
		if run.err = client.MakeRootfs(run.rootfs); run.err != nil {
			return
		}
		run.shim, run.err = shimBinary(run.dir)
	})
	if run.err != nil {
		t.Fatalf("set up the run: %v", run.err)
	}
}

func shimBinary(dir string) (string, error) {
	if given := os.Getenv("HOLDFAST_SHIM"); given != "" {
		return filepath.Abs(given)
	}
	return Build(dir, "./cmd/shim", ShimName)
}

// Build builds a command of this module into dir under that name: with the race
// detector when the test has it, else as it is released, without cgo. On a
// machine without Go, HOLDFAST_BUILT names a directory that holds it.
func Build(dir, pkg, name string) (string, error) {
	if built := os.Getenv("HOLDFAST_BUILT"); built != "" {
		return filepath.Join(built, name), nil
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", out)
	cgo := "CGO_ENABLED=0"
	if RaceEnabled {
		cmd.Args = append(cmd.Args, "-race")
		cgo = "CGO_ENABLED=1"
	}
	cmd.Args = append(cmd.Args, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), cgo)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return out, nil
}

// ModuleRoot is the repository's directory. It is found from where this file was
// compiled: tests run in their own package's directory, or in none.
func ModuleRoot() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("find module: no source position")
	}
	root := filepath.Join(filepath.Dir(file), "../..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	return root, nil
}

// Shim is the path of the shim under test.
func Shim(t testing.TB) string {
	t.Helper()
	setUp(t)
	return run.shim
}

// Tool is the path of the operator's tool, built once, with the shim under test
// beside it.
func Tool(t testing.TB) string {
	t.Helper()
	setUp(t)
	run.toolOnce.Do(func() {
		if run.tool, run.toolErr = Build(run.dir, "./cmd/holdfast", "holdfast"); run.toolErr != nil {
			return
		}
		beside := filepath.Join(run.dir, ShimName)
		if run.shim != beside {
			run.toolErr = os.Symlink(run.shim, beside)
		}
	})
	if run.toolErr != nil {
		t.Fatal(run.toolErr)
	}
	return run.tool
}

// Rootfs is a root filesystem of busybox that all tests share; nobody may write
// to it.
func Rootfs(t testing.TB) string {
	t.Helper()
	setUp(t)
	return run.rootfs
}

// defaultDialect is the newest, or what HOLDFAST_DIALECT says: an older shim
// named by HOLDFAST_SHIM may speak only an older one.
func defaultDialect(t testing.TB) client.Dialect {
	text := os.Getenv("HOLDFAST_DIALECT")
	if text == "" {
		return client.DialectBootstrap
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("HOLDFAST_DIALECT: %v", err)
	}
	return client.Dialect(n)
}
