package runc

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestScrubRemovesOnlyWhatTheRuntimeDoesNotKnow(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		id, file string
		stays    bool
	}{
		{"half", "exec.fifo", false},
		{"runcs", "state.json", true},
		{"cruns", "status", true},
	} {
		dir := filepath.Join(root, c.id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, c.file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // nothing to do is no error
			if err := (&Runtime{Root: root, ID: c.id}).Scrub(); err != nil {
				t.Errorf("%s: %v", c.id, err)
			}
		}
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) == c.stays {
			t.Errorf("%s: %v, want it to stay: %v", c.id, err, c.stays)
		}
	}
	if err := (&Runtime{Root: root}).Scrub(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(root); err != nil {
		t.Errorf("a runtime without a container lost its root: %v", err)
	}
}

// runc before 1.2, killed while it hides its own program, leaves that mounted.
func TestWhatAKilledRuntimeHasMountedDoesNotKeepItsContainer(t *testing.T) {
	mounted := func(t *testing.T, dir string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "runc.Wv1fel")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(busybox, file, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	}
	gone := func(t *testing.T, dir string) {
		t.Helper()
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	t.Run("half made", func(t *testing.T) {
		r := &Runtime{Root: t.TempDir(), ID: "c"}
		mounted(t, r.dir())
		if err := r.Scrub(); err != nil {
			t.Error(err)
		}
		gone(t, r.dir())
	})
	eachRuntime(t, func(t *testing.T, binary string) {
		c := newContainer(t, binary)
		c.create()
		mounted(t, c.dir())
		if err := c.init.Signal(unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-c.init.Done()
		if err := c.Delete(context.Background(), false); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		gone(t, c.dir())
	})
}

// runc shows criu the rootfs by a mount in the container's directory. If runc is
// killed it stays, and who removes that directory removes the container's files.
func TestTheRootfsThatAKilledRestoreLeavesMountedIsSpared(t *testing.T) {
	root, rootfs := t.TempDir(), t.TempDir()
	s := script(t, "rm -rf "+root+"/c1") // as runc delete --force does
	s.Root = root
	file := filepath.Join(rootfs, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(root, s.ID, "criu-root")
	// Before the directories go, which are the test's.
	t.Cleanup(func() {
		for unix.Unmount(at, unix.MNT_DETACH) == nil {
		}
	})
	for _, name := range []string{"delete", "scrub"} {
		remove := s.Scrub
		if name == "delete" {
			remove = func() error { return s.Delete(t.Context(), true) }
		}
		if err := os.MkdirAll(at, 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 { // by two restores
			if err := unix.Mount(rootfs, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := remove(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !exists(file) {
			t.Fatalf("%s: the container's files are gone", name)
		}
		if exists(filepath.Join(at, "file")) {
			t.Errorf("%s: it is still mounted", name)
		}
	}
	if exists(filepath.Dir(at)) {
		t.Error("the runtime's directory is left")
	}
}

// Criu mounts the hierarchies of cgroups there while it restores.
func TestWhatAKilledCriuLeavesMountedInItsWorkPathIsUnmounted(t *testing.T) {
	kernels, real := t.TempDir(), t.TempDir()
	file := filepath.Join(kernels, "cgroup.procs")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(t.TempDir(), "work") // a link, as in a bundle
	if err := os.Symlink(real, work); err != nil {
		t.Fatal(err)
	}
	yard := filepath.Join(real, ".criu.cgyard.E9xxdW")
	at := filepath.Join(yard, "systemd")
	if err := os.Mkdir(yard, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for unix.Unmount(at, unix.MNT_DETACH) == nil {
		}
		_ = unix.Unmount(yard, unix.MNT_DETACH)
	})
	if err := unix.Mount("none", yard, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(kernels, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(real, "restore.log")
	if err := os.WriteFile(log, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ScrubWork(work); err != nil {
			t.Error(err)
		}
	}
	if exists(yard) || !exists(file) || !exists(log) {
		t.Errorf("criu's: %v, the kernel's: %v, the log: %v", exists(yard), exists(file), exists(log))
	}
	if err := ScrubWork(filepath.Join(work, "none")); err != nil {
		t.Error(err)
	}
}
