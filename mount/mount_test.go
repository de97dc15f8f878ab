package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoMountsTouchNothing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "rootfs")
	if err := All(nil, root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the root was made for nothing: %v", err)
	}
}

func TestRootIsMadeWhenThereIsSomethingToMount(t *testing.T) {
	root := bundle(t)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	mountAll(t, root, Mount{Type: "tmpfs", Source: "tmpfs"})
	wantMounts(t, root, 1)
	if err := UnmountAll(root); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(root)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o711 {
		t.Errorf("mode is %v, want 0711", st.Mode().Perm())
	}
}

func TestTmpfsTakesItsOwnOptionsAndTheMounts(t *testing.T) {
	root := bundle(t)
	mountAll(t, root, Mount{Type: "tmpfs", Source: "scratch",
		Options: []string{"nosuid", "noexec", "size=64k", "mode=700", "X-note=kept-by-nobody", "defaults"}})
	e := wantMounts(t, root, 1)[0]
	if e.FSType != "tmpfs" || e.Source != "scratch" {
		t.Errorf("mounted %+v", e)
	}
	hasOptions(t, root, "nosuid", "noexec", "!nodev", "rw")
	if !strings.Contains(e.Super, "size=64k") || !strings.Contains(e.Super, "mode=700") {
		t.Errorf("superblock options %q", e.Super)
	}
}

func TestBindShowsTheSourceAndNotWhatIsMountedBelowIt(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	mkdir(t, src+"/sub")
	sysMount(t, "tmpfs", src+"/sub", "tmpfs", 0, "")
	write(t, src+"/a", "hello")
	mountAll(t, root, Mount{Type: "bind", Source: src, Options: []string{"bind", "rw"}})
	wantMounts(t, root, 1)
	if got := read(t, root+"/a"); got != "hello" {
		t.Errorf("read %q", got)
	}
	write(t, root+"/b", "x")
	hasOptions(t, root, "rw")
}

func TestRbindShowsWhatIsMountedBelowTheSource(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	write(t, src+"/sub/deep", "x")
	mountAll(t, root, Mount{Type: "bind", Source: src, Options: []string{"rbind", "ro"}})
	wantMounts(t, root, 2)
	hasOptions(t, root, "ro")
	hasOptions(t, root+"/sub", "rw")
	if got := read(t, root+"/sub/deep"); got != "x" {
		t.Errorf("read %q", got)
	}
	hasErrno(t, os.WriteFile(root+"/new", nil, 0o600), unix.EROFS)
	write(t, root+"/sub/new", "")
}

func TestRecursiveReadOnlyHoldsForWhatIsMountedBelow(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	mountAll(t, root, Mount{Type: "bind", Source: src, Options: []string{"rbind", "rro"}})
	hasErrno(t, os.WriteFile(root+"/new", nil, 0o600), unix.EROFS)
	hasErrno(t, os.WriteFile(root+"/sub/new", nil, 0o600), unix.EROFS)
	write(t, src+"/sub/new", "the source stays as it is")
}

func TestReadOnlyBindLeavesItsSourceWritable(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	mountAll(t, root, Mount{Type: "bind", Source: src, Options: []string{"bind", "ro", "nodev", "noatime"}})
	hasOptions(t, root, "ro", "nodev", "noatime", "!nosuid")
	write(t, src+"/new", "")
}

func TestBindOfAFileOntoAFile(t *testing.T) {
	root := bundle(t)
	src := filepath.Dir(root) + "/resolv.conf"
	write(t, src, "nameserver")
	mountAll(t, root,
		Mount{Type: "tmpfs", Source: "tmpfs"},
	)
	write(t, root+"/file", "")
	mountAll(t, root, Mount{Type: "bind", Source: src, Target: "/file", Options: []string{"bind", "ro"}})
	if got := read(t, root+"/file"); got != "nameserver" {
		t.Errorf("read %q", got)
	}
	hasOptions(t, root+"/file", "ro")
}

func TestOverlayOfTwoLayersIsWritable(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	for _, d := range []string{"l1", "l2", "up", "work"} {
		mkdir(t, dir+"/"+d)
	}
	write(t, dir+"/l1/a", "upper of the two")
	write(t, dir+"/l2/a", "hidden")
	write(t, dir+"/l2/b", "below")
	mountAll(t, root, Mount{Type: "overlay", Source: "overlay", Options: []string{
		"index=off", "volatile", "userxattr",
		"lowerdir=" + dir + "/l1:" + dir + "/l2", "upperdir=" + dir + "/up", "workdir=" + dir + "/work"}})
	if a, b := read(t, root+"/a"), read(t, root+"/b"); a != "upper of the two" || b != "below" {
		t.Errorf("read %q and %q", a, b)
	}
	write(t, root+"/c", "new")
	if got := read(t, dir+"/up/c"); got != "new" {
		t.Errorf("upper directory has %q", got)
	}
	super := wantMounts(t, root, 1)[0].Super
	for _, want := range []string{"volatile", "userxattr", "lowerdir=" + dir + "/l1"} {
		if !strings.Contains(super, want) {
			t.Errorf("superblock options %q lack %q", super, want)
		}
	}
}

func TestNestedTargetsStackInOrder(t *testing.T) {
	root := bundle(t)
	mountAll(t, root,
		Mount{Type: "tmpfs", Source: "one"},
		Mount{Type: "tmpfs", Source: "two"},
	)
	mkdir(t, root+"/var/run")
	mountAll(t, root,
		Mount{Type: "tmpfs", Source: "three", Target: "/var"},
	)
	mkdir(t, root+"/var/lib")
	mountAll(t, root, Mount{Type: "tmpfs", Source: "four", Target: "var/lib"})
	var sources []string
	for _, e := range wantMounts(t, root, 4) {
		sources = append(sources, e.Source)
	}
	if got := strings.Join(sources, " "); got != "one two three four" {
		t.Errorf("mounted in order %q", got)
	}
}

func TestPropagationOptionsAreSetInOrder(t *testing.T) {
	for _, c := range []struct {
		options []string
		shared  bool
	}{
		{[]string{"shared"}, true},
		{[]string{"rshared"}, true},
		{[]string{"shared", "private"}, false},
		{[]string{"rslave"}, false},
		{[]string{"unbindable"}, false},
	} {
		t.Run(strings.Join(c.options, "+"), func(t *testing.T) {
			root := bundle(t)
			mountAll(t, root, Mount{Type: "tmpfs", Source: "tmpfs", Options: c.options})
			if e := wantMounts(t, root, 1)[0]; (e.Shared != 0) != c.shared {
				t.Errorf("peer group %d, want shared %v", e.Shared, c.shared)
			}
		})
	}
}

func TestUnbindableMountCannotBeBound(t *testing.T) {
	root := bundle(t)
	mountAll(t, root, Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"unbindable"}})
	other := mkdir(t, filepath.Dir(root)+"/other")
	err := All([]Mount{{Type: "bind", Source: root, Options: []string{"bind"}}}, other)
	hasErrno(t, err, unix.EINVAL)
}

func TestRemountChangesWhatIsThere(t *testing.T) {
	root := bundle(t)
	mountAll(t, root,
		Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=64k"}},
		Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"remount", "ro", "size=128k"}},
	)
	e := wantMounts(t, root, 1)[0]
	if !strings.Contains(e.Super, "size=128k") {
		t.Errorf("superblock options %q", e.Super)
	}
	hasOptions(t, root, "ro")
}

func TestFailureUndoesWhatWasMountedAndNamesTheOneThatFailed(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	src := mkdir(t, dir+"/src")
	mkdir(t, src+"/etc")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	before := mkdir(t, root+"/was-here")
	sysMount(t, "tmpfs", root, "tmpfs", 0, "")
	mkdir(t, root+"/was-here-too")

	err := All([]Mount{
		{Type: "bind", Source: src, Options: []string{"rbind", "ro"}},
		{Type: "tmpfs", Source: "tmpfs", Target: "etc"},
		{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + dir + "/src:" + dir + "/missing"}},
	}, root)
	hasErrno(t, err, unix.ENOENT)
	for _, want := range []string{"mount 3 of 3", `type "overlay"`, `source "overlay"`, dir + "/missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	// Only what was mounted before is still there, and nothing of the source went.
	wantMounts(t, root, 1)
	if _, err := os.Stat(root + "/was-here-too"); err != nil {
		t.Error(err)
	}
	wantMounts(t, src, 1)
	if err := UnmountAll(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(before); err != nil {
		t.Error(err)
	}
}

func TestRootThatWasMadeIsRemovedAgainOnFailure(t *testing.T) {
	root := bundle(t)
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	err := All([]Mount{{Type: "tmpfs", Source: "tmpfs"}, {Type: "no-such-filesystem", Source: "x"}}, root)
	hasErrno(t, err, unix.ENODEV)
	if !strings.Contains(err.Error(), `no filesystem "no-such-filesystem"`) {
		t.Errorf("error %q does not say it", err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the root is still there: %v", err)
	}
}

func TestRefusedOptionsAreNamed(t *testing.T) {
	root := bundle(t)
	for _, c := range []struct {
		mount Mount
		says  string
		is    error
	}{
		{Mount{Type: "bind", Source: "/", Options: []string{"bind", "X-containerd.custom=test-value"}}, `"X-containerd.custom=test-value"`, ErrUnsupported},
		{Mount{Type: "format/overlay", Source: "overlay"}, `"format/overlay"`, ErrUnsupported},
		{Mount{Type: "fuse3.fuse-overlayfs", Source: "overlay"}, `"fuse3.fuse-overlayfs"`, ErrUnsupported},
		{Mount{Type: "tmpfs", Options: []string{"rro"}}, "rro", ErrOption},
		{Mount{Type: "tmpfs", Options: []string{"uidmap=0:1000:10"}}, "gidmap", ErrOption},
		{Mount{Type: "bind", Source: "/", Options: []string{"bind", "uidmap=0:1000", "gidmap=0:1000:10"}}, "uidmap=0:1000", ErrOption},
		{Mount{Type: "bind", Source: "/", Options: []string{"bind", "loop"}}, "loop", ErrOption},
	} {
		err := All([]Mount{c.mount}, root)
		if !errors.Is(err, c.is) || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%+v: error %v, want %v naming %s", c.mount, err, c.is, c.says)
		}
	}
	wantMounts(t, root, 0)
}

func TestErrorTellsWhichOptionTheKernelRefused(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	lower := mkdir(t, dir+"/lower")
	for _, c := range []struct {
		mount Mount
		says  string
	}{
		{Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=lots"}}, "size=lots"},
		{Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"colour=blue"}}, "Unknown parameter 'colour'"},
		{Mount{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + lower, "upperdir=" + dir + "/nowhere", "workdir=" + dir}}, dir + "/nowhere"},
	} {
		err := All([]Mount{c.mount}, root)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: error %v does not say %q", c.mount, err, c.says)
		}
		t.Log(err)
	}
	wantMounts(t, root, 0)
}
