package mount

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRootThatIsASymbolicLinkIsRefused(t *testing.T) {
	root := bundle(t)
	elsewhere := mkdir(t, filepath.Dir(root)+"/elsewhere")
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(elsewhere, root); err != nil {
		t.Fatal(err)
	}
	err := All([]Mount{{Type: "tmpfs", Source: "tmpfs"}}, root)
	hasErrno(t, err, unix.ENOTDIR)
	wantMounts(t, elsewhere, 0)
	if _, err := os.Lstat(root); err != nil {
		t.Errorf("the link was taken away: %v", err)
	}
}

func TestRootMustBeADirectoryInAnExistingOne(t *testing.T) {
	dir := filepath.Dir(bundle(t))
	write(t, dir+"/file", "")
	tmpfs := []Mount{{Type: "tmpfs", Source: "tmpfs"}}
	hasErrno(t, All(tmpfs, dir+"/file"), unix.ENOTDIR)
	hasErrno(t, All(tmpfs, dir+"/missing/rootfs"), unix.ENOENT)
	for _, root := range []string{"/", "", ".", ".."} {
		if err := All(tmpfs, root); err == nil {
			t.Errorf("%q was taken for a root", root)
		}
	}
}

func TestTargetsEndInsideTheRoot(t *testing.T) {
	for _, c := range []struct {
		target string
		at     string // below the root; empty when it must fail
		is     error
	}{
		{"dir", "/dir", nil},
		{"/dir/", "/dir", nil},
		{"./dir/../dir", "/dir", nil},
		{"../../../../dir", "/dir", nil},
		{"link-absolute", "/dir", nil},
		{"link-relative", "/dir", nil},
		{"link-out", "/dir", nil},
		{"link-dir/sub", "/dir/sub", nil},
		{"link-loop", "", unix.ELOOP},
		{"link-outside", "", unix.ENOENT},
		{"missing", "", unix.ENOENT},
		{"file/x", "", unix.ENOTDIR},
	} {
		t.Run(c.target, func(t *testing.T) {
			root := bundle(t)
			outside := mkdir(t, filepath.Dir(root)+"/outside")
			mkdir(t, root+"/dir/sub")
			write(t, root+"/file", "")
			for name, to := range map[string]string{
				"link-absolute": "/dir",
				"link-relative": "dir",
				"link-out":      "../../../../../../dir",
				"link-dir":      "/dir",
				"link-loop":     "link-loop",
				"link-outside":  outside,
			} {
				if err := os.Symlink(to, root+"/"+name); err != nil {
					t.Fatal(err)
				}
			}
			err := All([]Mount{{Type: "tmpfs", Source: "tmpfs", Target: c.target}}, root)
			if c.at == "" {
				hasErrno(t, err, c.is)
				wantMounts(t, filepath.Dir(root), 0)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantMounts(t, root+c.at, 1)
			wantMounts(t, filepath.Dir(root), 1)
		})
	}
}

// Kernels before 5.6 have no openat2.
func TestWalkRefusesWhatItCannotResolveSafely(t *testing.T) {
	root := bundle(t)
	mkdir(t, root+"/dir/sub")
	write(t, root+"/dir/file", "")
	if err := os.Symlink("dir", root+"/link"); err != nil {
		t.Fatal(err)
	}
	fd, err := at(t, root).open("")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, path := range []string{"dir", "dir//sub/", "./dir/sub/.", "dir/file"} {
		got, err := walkIn(fd, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if link, err := os.Readlink(fdPath(got)); err != nil || link != filepath.Join(root, path) {
			t.Errorf("%s: opened %q, %v", path, link, err)
		}
		unix.Close(got)
	}
	for path, is := range map[string]error{
		"link":     ErrUnsupported,
		"link/sub": ErrUnsupported,
		"dir/..":   ErrUnsupported,
		"missing":  unix.ENOENT,
	} {
		if got, err := walkIn(fd, path); !errors.Is(err, is) {
			t.Errorf("%s: %d, %v, want %v", path, got, err, is)
		}
	}
	before := openFiles(t)
	for range 10 {
		if got, err := walkIn(fd, "dir/sub"); err == nil {
			unix.Close(got)
		}
		_, _ = walkIn(fd, "dir/link")
		_, _ = walkIn(fd, "link")
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}

func TestNothingStaysOpen(t *testing.T) {
	root := bundle(t)
	mkdir(t, root+"/dir")
	before := openFiles(t)
	for range 5 {
		mountAll(t, root,
			Mount{Type: "bind", Source: root, Options: []string{"rbind", "ro"}},
			Mount{Type: "tmpfs", Source: "tmpfs", Target: "dir"},
		)
		if err := All([]Mount{{Type: "tmpfs", Source: "tmpfs"}, {Type: "tmpfs", Options: []string{"size=x"}}}, root); err == nil {
			t.Fatal("a size of x was taken")
		}
		if err := UnmountAll(root); err != nil {
			t.Fatal(err)
		}
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d open files before, %d after", before, after)
	}
}
