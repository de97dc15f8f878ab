package mount

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUnmountOfNothingIsNoError(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/file", "")
	for _, path := range []string{"", dir, dir + "/missing", dir + "/missing/rootfs", dir + "/file/rootfs"} {
		if err := UnmountAll(path); err != nil {
			t.Errorf("unmount %q: %v", path, err)
		}
	}
}

func TestUnmountRefusesTheRootDirectory(t *testing.T) {
	for _, path := range []string{"/", "//", "/../", "/tmp/.."} {
		hasErrno(t, UnmountAll(path), unix.EINVAL)
	}
	hasErrno(t, UnmountAll(".."), unix.EINVAL)
}

func TestUnmountTakesStacksAndWhatIsBelow(t *testing.T) {
	root := bundle(t)
	for range 3 {
		sysMount(t, "tmpfs", root, "tmpfs", 0, "")
		sysMount(t, "tmpfs", mkdir(t, root+"/a"), "tmpfs", 0, "")
		sysMount(t, "tmpfs", mkdir(t, root+"/a/b"), "tmpfs", 0, "")
		// This one hides the two before.
		sysMount(t, "tmpfs", root+"/a", "tmpfs", 0, "")
	}
	neighbour := mkdir(t, root+"-neighbour")
	sysMount(t, "tmpfs", neighbour, "tmpfs", 0, "")
	wantMounts(t, root, 12)
	for range 2 {
		if err := UnmountAll(root); err != nil {
			t.Fatal(err)
		}
		wantMounts(t, root, 0)
	}
	wantMounts(t, neighbour, 1)
}

func TestUnmountFindsPathsWithOddNames(t *testing.T) {
	dir := filepath.Dir(bundle(t))
	for _, name := range []string{"with space", "tab\tand\nnewline", `back\slash`, `looks\040escaped`, "#hash", "ünï"} {
		path := mkdir(t, filepath.Join(dir, name))
		sysMount(t, "tmpfs", path, "tmpfs", 0, "")
		wantMounts(t, path, 1)
		if err := UnmountAll(path); err != nil {
			t.Errorf("unmount %q: %v", path, err)
		}
		wantMounts(t, path, 0)
	}
}

func TestUnmountGoesThroughSymbolicLinksAboveThePathOnly(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	sysMount(t, "tmpfs", root, "tmpfs", 0, "")
	if err := os.Symlink(dir, dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, dir+"/rootfs-link"); err != nil {
		t.Fatal(err)
	}
	if err := UnmountAll(dir + "/rootfs-link"); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, root, 1)
	if err := UnmountAll(dir + "/link/rootfs"); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, root, 0)
}

func TestBusyMountIsDetached(t *testing.T) {
	root := bundle(t)
	mountAll(t, root, Mount{Type: "tmpfs", Source: "tmpfs"})
	f, err := os.Create(root + "/held")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sysMount(t, "tmpfs", mkdir(t, root+"/sub"), "tmpfs", 0, "")
	if err := UnmountAll(root); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, root, 0)
	if _, err := f.WriteString("still there for who holds it"); err != nil {
		t.Error(err)
	}
}

// A bind of all below a shared directory is a peer of it: what is unmounted in the
// one is unmounted in the other.
func TestUnmountLeavesTheSourceOfARecursiveBindAlone(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	host := mkdir(t, dir+"/host")
	sysMount(t, "tmpfs", host, "tmpfs", 0, "")
	sysMount(t, "", host, "", unix.MS_SHARED, "")
	sysMount(t, "tmpfs", mkdir(t, host+"/sub"), "tmpfs", 0, "")
	write(t, host+"/sub/precious", "x")

	mountAll(t, root, Mount{Type: "bind", Source: host, Options: []string{"rbind", "rw"}},
		Mount{Type: "tmpfs", Source: "tmpfs", Target: "sub"})
	wantMounts(t, root, 3)
	wantMounts(t, host, 2)
	if err := UnmountAll(root); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, root, 0)
	wantMounts(t, host, 2)
	read(t, host+"/sub/precious")
}

func TestMountsBelowASharedDirectoryReachItsPeersAndLeaveThem(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	here := mkdir(t, dir+"/here")
	sysMount(t, "tmpfs", here, "tmpfs", 0, "")
	sysMount(t, "", here, "", unix.MS_SHARED, "")
	peer := mkdir(t, dir+"/peer")
	sysMount(t, here, peer, "", unix.MS_BIND, "")
	src := mkdir(t, dir+"/src")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	mkdir(t, here+"/rootfs")

	mountAll(t, here+"/rootfs", Mount{Type: "bind", Source: src, Options: []string{"rbind", "ro"}})
	wantMounts(t, peer, 3)
	if err := UnmountAll(here + "/rootfs"); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, peer, 1)
	wantMounts(t, src, 1)
}
