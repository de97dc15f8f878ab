package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/mount/mountinfo"
)

// inOwnNamespace tells the second run of the test binary from the first.
const inOwnNamespace = "HOLDFAST_TEST_MOUNT_NAMESPACE"

// TestMain runs the tests in a mount namespace that nothing propagates out of or
// into: whatever a test leaves mounted ends with the process. A namespace of one
// thread would not do, /proc/self tells of the whole process' one.
func TestMain(m *testing.M) {
	if os.Getenv(inOwnNamespace) != "" || os.Geteuid() != 0 || fuzzing() {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inOwnNamespace+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The package syscall makes all of the new namespace private.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "run the tests in a mount namespace of their own:", err)
		os.Exit(1)
	}
}

// fuzzing says whether go test fuzzes, which starts processes of its own and needs
// no mounts.
func fuzzing() bool {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.fuzzworker") {
			return true
		}
	}
	return false
}

// needMounts skips a test where nothing can be mounted.
func needMounts(t testing.TB) {
	t.Helper()
	if os.Getenv(inOwnNamespace) == "" {
		t.Fatal("NEEDS ROOT: this test mounts filesystems; run it as root")
	}
}

// bundle is a directory with an empty rootfs in it, with nothing mounted when the
// test ends.
func bundle(t testing.TB) (root string) {
	t.Helper()
	needMounts(t)
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := UnmountAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	root = dir + "/rootfs"
	mkdir(t, root)
	return root
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mounted gives what is mounted on path or below it, in the table's order.
func mounted(t testing.TB, path string) []mountinfo.Entry {
	t.Helper()
	entries, err := below(path)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func wantMounts(t testing.TB, path string, n int) []mountinfo.Entry {
	t.Helper()
	entries := mounted(t, path)
	if len(entries) != n {
		t.Fatalf("%d mounts at %s, want %d: %+v", len(entries), path, n, entries)
	}
	return entries
}

func mountAll(t testing.TB, root string, mounts ...Mount) {
	t.Helper()
	if err := All(mounts, root); err != nil {
		t.Fatal(err)
	}
}

// hasOptions checks the flags of what is topmost at path.
func hasOptions(t testing.TB, path string, want ...string) {
	t.Helper()
	entries := mounted(t, path)
	for i := len(entries) - 1; i >= 0; i-- {
		if e := entries[i]; e.Point == path {
			have := "," + e.Options + ","
			for _, w := range want {
				not := strings.HasPrefix(w, "!")
				w = strings.TrimPrefix(w, "!")
				if strings.Contains(have, ","+w+",") == not {
					t.Errorf("options of %s are %q: %s missing or too much", path, e.Options, w)
				}
			}
			return
		}
	}
	t.Errorf("nothing is mounted at %s", path)
}

func hasErrno(t testing.TB, err error, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func sysMount(t testing.TB, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
}
