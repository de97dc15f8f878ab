package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
)

func TestAContainerFromAnImageHasTheSnapshotsOverlayAsItsRoot(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage(nil, "c", "sleep", "1000")
	rootfs := filepath.Join(d.bundle("c"), "rootfs")
	if line := mountInfo(t, rootfs); !strings.Contains(line, " - overlay overlay rw,") || !strings.Contains(line, "lowerdir=") {
		t.Errorf("on the bundle's rootfs there is %q", line)
	}
	s := d.exec("c", "x", "sh", "-c", "cat /etc/motd; ls /etc/hosts; echo mine >/etc/new && rm /etc/passwd && cat /etc/new")
	if out := s.Out.String(); s.code() != 0 || out != "from the upper layer\nmine\n" || !strings.Contains(s.Err.String(), "/etc/hosts: No such file") {
		t.Errorf("exit code %d, %q, %q", s.code(), out, s.Err)
	}
	// What one container writes is its own.
	d.runImage(nil, "c2", "sleep", "1000")
	if s := d.exec("c2", "x", "ls", "/etc/new", "/etc/passwd"); !strings.Contains(s.Out.String(), "/etc/passwd") || strings.Contains(s.Out.String(), "/etc/new") {
		t.Errorf("the second container sees %q, %q", s.Out, s.Err)
	}
	d.finish("c")
	d.finish("c2")
	if under, err := client.MountsUnder(filepath.Dir(rootfs)); err != nil || len(under) > 0 {
		t.Errorf("mounts left of a deleted container: %q, %v", under, err)
	}
}

// mountInfo is the line of /proc/self/mountinfo for the newest mount on a path.
func mountInfo(t *testing.T, path string) (line string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) > 4 && f[4] == path {
			line = l
		}
	}
	return line
}

func TestAReadOnlyContainerCannotWriteToItsImage(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage([]string{"--read-only"}, "c", "sleep", "1000")
	s := d.exec("c", "x", "touch", "/etc/new")
	if s.code() == 0 || !strings.Contains(s.Err.String(), "Read-only file system") {
		t.Errorf("exit code %d, %q", s.code(), s.Err)
	}
	// But its own tmpfs is not meant.
	if s := d.exec("c", "y", "touch", "/run/new"); s.code() != 0 {
		t.Errorf("touch on a tmpfs: exit code %d, %q", s.code(), s.Err)
	}
	d.finish("c")
}

func TestAnImagesContainerSurvivesContainerdAndIsUnmountedAtItsEnd(t *testing.T) {
	d := start(t)
	d.importImage()
	shim := d.runImage(nil, "c", "sleep", "1000")
	d.must(d.execArgs(nil, "c", "x", "sh", "-c", "echo kept >/etc/new")...)
	d.kill()
	d.up()
	if is := d.shimOf("c"); is != shim {
		t.Errorf("the shim was %d and is %d", shim, is)
	}
	if s := d.exec("c", "y", "cat", "/etc/new"); s.Out.String() != "kept\n" {
		t.Errorf("after the restart: %q, %q", s.Out, s.Err)
	}
	d.finish("c")
}

func TestAnImagesContainerIsUnmountedWhenItsShimIsKilled(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage(nil, "c", "sleep", "1000")
	// Somebody looks around in the container's root and keeps it busy.
	looker, err := os.Open(filepath.Join(d.bundle("c"), "rootfs", "etc"))
	if err != nil {
		t.Fatal(err)
	}
	defer looker.Close()
	d.killShim("c")
	gone(t, d, "c", 137)
	d.must("container", "rm", "c")
}

func TestAFailedCreateLeavesNoSnapshotMounted(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage(nil, "proof", "sleep", "1000")
	d.refused("no such file or directory", d.imageArgs([]string{"--rm"}, "c", "/not/there")...)
	if under, err := client.MountsUnder(d.bundle("c")); err != nil || len(under) > 0 {
		t.Errorf("mounts left of a failed create: %q, %v", under, err)
	}
	d.finish("proof")
}
