package mount

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func owner(t testing.TB, path string) int {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Uid)
}

func TestIDMappedBindShowsOtherOwners(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	write(t, src+"/a", "")
	write(t, src+"/sub/b", "")
	mountAll(t, root, Mount{Type: "bind", Source: src, Options: []string{"rbind", "ro", "uidmap=0:1000:65536", "gidmap=0:1000:1,1:3000:65535"}})
	for path, want := range map[string]int{src + "/a": 0, root + "/a": 1000, root + "/sub/b": 1000} {
		if got := owner(t, path); got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
	hasOptions(t, root, "ro", "idmapped")
	hasOptions(t, root+"/sub", "rw", "idmapped")
}

func TestIDMappedFilesystemShowsOtherOwners(t *testing.T) {
	root := bundle(t)
	mountAll(t, root, Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "uidmap=0:1000:65536", "gidmap=0:1000:65536"}})
	if got := owner(t, root); got != 1000 {
		t.Errorf("the root belongs to %d, want 1000", got)
	}
	hasOptions(t, root, "nosuid", "idmapped")
	if e := wantMounts(t, root, 1)[0]; !strings.Contains(e.Super, "mode=755") {
		t.Errorf("superblock options %q", e.Super)
	}
	// The kernel maps no ids of a proc.
	dir := mkdir(t, filepath.Dir(root)+"/proc")
	err := All([]Mount{{Type: "proc", Source: "proc", Options: []string{"uidmap=0:1000:65536", "gidmap=0:1000:65536"}}}, dir)
	hasErrno(t, err, unix.EINVAL)
	wantMounts(t, dir, 0)
}

func TestIDMappedOverlayMapsItsLayersAndNotItsUpperDirectory(t *testing.T) {
	for _, n := range []int{1, 3, 150} {
		root := bundle(t)
		dir := filepath.Dir(root)
		lower := layers(t, dir+"/snapshots", n, 8)
		if n > 1 {
			// A layer that is a mount itself, as of a filesystem image.
			sysMount(t, "tmpfs", lower[1], "tmpfs", 0, "")
			write(t, lower[1]+"/f1", "")
			write(t, lower[1]+"/all", "1")
		}
		options := append(writable(t, dir, lower), "nodev", "uidmap=0:1000:65536", "gidmap=0:1000:65536")
		write(t, dir+"/upper/up", "")
		before := openFiles(t)
		table := len(mounted(t, dir))
		mountAll(t, root, Mount{Type: "overlay", Source: "overlay", Options: options})
		hasLayers(t, root, n)
		if got := owner(t, root+"/f0"); got != 1000 {
			t.Errorf("%d layers: a layer's file belongs to %d, want 1000", n, got)
		}
		if got := owner(t, root+"/up"); got != 0 {
			t.Errorf("%d layers: the upper directory's file belongs to %d, want 0", n, got)
		}
		if now := len(mounted(t, dir)); now != table+1 {
			t.Errorf("%d layers: %d mounts before, %d after", n, table, now)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%d layers: %d open files before, %d after", n, before, after)
		}
	}
}

func TestIDMappedOverlayThatFailsLeavesNothing(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	lower := append(layers(t, dir+"/snapshots", 2, 4), dir+"/missing")
	options := append(writable(t, dir, lower), "uidmap=0:1000:65536", "gidmap=0:1000:65536")
	hasErrno(t, All([]Mount{{Type: "overlay", Source: "overlay", Options: options}}, root), unix.ENOENT)
	wantMounts(t, dir, 0)

	options = append(writable(t, dir, lower[:2]), "no-such-option", "uidmap=0:1000:65536", "gidmap=0:1000:65536")
	hasErrno(t, All([]Mount{{Type: "overlay", Source: "overlay", Options: options}}, root), unix.EINVAL)
	wantMounts(t, dir, 0)
}

func TestUserNamespaceLeavesNoChild(t *testing.T) {
	needMounts(t)
	fd, err := userNamespace("0:1000:10,10:5000:1", "0:2000:10")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWUSER {
		t.Errorf("the descriptor is of kind %#x, %v", kind, err)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("there is a child: %d, %v", pid, err)
	}
	if _, err := userNamespace("0:1000:10,5:2000:10", "0:1000:10"); err == nil {
		t.Error("overlapping ranges were taken")
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); !errors.Is(err, unix.ECHILD) {
		t.Errorf("there is a child: %d, %v", pid, err)
	}
}

func TestIDMapsAreRead(t *testing.T) {
	got, err := parseIDMap("0:1000:65536,65536:4294967295:1")
	want := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 65536}, {ContainerID: 65536, HostID: 4294967295, Size: 1}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, s := range []string{"", "0", "0:1", "0:1:2:3", "a:1:2", "-1:0:1", "0:0:0", "0:0:4294967296", "0:0:1,", "0:0: 1"} {
		if got, err := parseIDMap(s); !errors.Is(err, ErrOption) {
			t.Errorf("%q gave %+v, %v", s, got, err)
		}
	}
}

func FuzzIDMap(f *testing.F) {
	f.Add("0:1000:65536,65536:4294967295:1")
	f.Add("::,,")
	f.Fuzz(func(t *testing.T, s string) {
		maps, err := parseIDMap(s)
		if err != nil {
			return
		}
		for _, m := range maps {
			if m.Size <= 0 || m.HostID < 0 || m.ContainerID < 0 {
				t.Errorf("%q gave %+v", s, m)
			}
		}
	})
}
