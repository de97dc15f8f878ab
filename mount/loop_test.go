package mount

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLoopDeviceIsFreedWithItsMount(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	image := dir + "/image"
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(8<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("busybox", "mke2fs", "-F", image).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}

	for _, options := range [][]string{{"loop"}, {"loop", "ro"}, {"loop", "direct-io"}} {
		mountAll(t, root, Mount{Type: "ext2", Source: image, Options: options})
		dev := wantMounts(t, root, 1)[0].Source
		if got := read(t, "/sys/block/"+filepath.Base(dev)+"/loop/backing_file"); got != image+"\n" {
			t.Errorf("%s shows %q", dev, got)
		}
		if err := UnmountAll(root); err != nil {
			t.Fatal(err)
		}
		wantFree(t, image)
	}

	// Not a filesystem: the device must not stay.
	write(t, image, string(make([]byte, 1<<20)))
	err = All([]Mount{{Type: "ext2", Source: image, Options: []string{"loop"}}}, root)
	hasErrno(t, err, unix.EINVAL)
	t.Log(err)
	wantFree(t, image)
	err = All([]Mount{{Type: "ext2", Source: dir + "/missing", Options: []string{"loop"}}}, root)
	hasErrno(t, err, unix.ENOENT)
}

// wantFree waits until no loop device has the file: whoever looked at the device
// when it appeared (udev does) keeps it a little longer.
func wantFree(t testing.TB, file string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(devices, func(d string) bool {
			b, err := os.ReadFile(d)
			return err == nil && string(b) == file+"\n"
		}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("a loop device still has %s", file)
		}
	}
}
