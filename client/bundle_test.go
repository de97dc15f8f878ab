package client

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestABundleIsMadeAndRemoved(t *testing.T) {
	state, root := t.TempDir(), t.TempDir()
	b, err := NewBundle(state, root, "ns", "c", []byte(`{"x":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(state, "ns", "c"); b.Path != want {
		t.Errorf("path %s, want %s", b.Path, want)
	}
	if got, err := os.ReadFile(filepath.Join(b.Path, "config.json")); err != nil || string(got) != `{"x":1}` {
		t.Errorf("config.json %q, %v", got, err)
	}
	work, err := os.Readlink(filepath.Join(b.Path, "work"))
	if err != nil || work != filepath.Join(root, "ns", "c") {
		t.Errorf("work is %s, %v", work, err)
	}
	if _, err := NewBundle(state, root, "ns", "c", nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	for range 2 {
		if err := b.Delete(); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{b.Path, work} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestABundlesNameIsOnePathElement(t *testing.T) {
	for _, id := range []string{"", ".", "..", "a/b", "../x", "/x"} {
		if b, err := NewBundle(t.TempDir(), "", "ns", id, nil); err == nil {
			t.Errorf("%q made %s", id, b.Path)
		}
	}
}

func TestRemovingABundleDoesNotReachIntoWhatIsMountedThere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting needs root")
	}
	precious := t.TempDir()
	if err := os.WriteFile(filepath.Join(precious, "file"), []byte("dear"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := NewBundle(t.TempDir(), "", "ns", "c", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := unix.Mount(precious, b.rootfs(), "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(precious, "file")); err != nil || string(got) != "dear" {
		t.Errorf("the mounted file: %q, %v", got, err)
	}
	if left, err := MountsUnder(b.Path); err != nil || len(left) > 0 {
		t.Errorf("mounts %q, %v", left, err)
	}
}

func TestMountPointsAreUnescaped(t *testing.T) {
	const text = `36 35 98:0 /mnt1 /a\040b rw,noatime master:1 - ext3 /dev/root rw
37 35 0:1 / /tab\011nl\012back\134slash rw - tmpfs tmpfs rw
38 35 0:1 / /odd\9 rw - tmpfs tmpfs rw
`
	got, err := mountPoints(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/a b", "/tab\tnl\nback\\slash", `/odd\9`}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("%q, want %q", got, want)
	}
	if _, err := mountPoints(strings.NewReader("36 35\n")); err == nil {
		t.Error("a short line was taken")
	}
}

func FuzzMountPoints(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /a\040b rw,noatime master:1 - ext3 /dev/root rw`)
	f.Fuzz(func(t *testing.T, text string) {
		points, err := mountPoints(strings.NewReader(text))
		if err == nil && len(points) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mount points in %q", len(points), text)
		}
	})
}

func TestTheDefaultSpecIsWhatCtrMakes(t *testing.T) {
	text, err := DefaultSpec("ns", "c", "echo", "hi").JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Root    struct{ Path string }
		Process struct {
			Args            []string
			NoNewPrivileges bool
			Capabilities    map[string][]string
		}
		Mounts []struct{ Destination, Type string }
		Linux  struct {
			CgroupsPath string
			Namespaces  []struct{ Type string }
			Resources   struct {
				Devices []struct {
					Allow  bool
					Access string
				}
			}
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Root.Path != "rootfs" || strings.Join(got.Process.Args, " ") != "echo hi" || !got.Process.NoNewPrivileges ||
		got.Linux.CgroupsPath != "/ns/c" || len(got.Linux.Namespaces) != 5 || len(got.Mounts) != 7 ||
		len(got.Process.Capabilities["bounding"]) != 14 || len(got.Process.Capabilities["ambient"]) != 0 {
		t.Errorf("spec %s", text)
	}
	if d := got.Linux.Resources.Devices; len(d) != 1 || d[0].Allow || d[0].Access != "rwm" {
		t.Errorf("devices %+v", d)
	}
}

func TestTheRootfsRunsByItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rootfs")
	if err := MakeRootfs(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "sleep", "cat", "stty"} {
		target, err := os.Readlink(filepath.Join(dir, "bin", name))
		if err != nil || target != "busybox" {
			t.Errorf("%s is a link to %q, %v", name, target, err)
		}
	}
	st, err := os.Stat(filepath.Join(dir, "tmp"))
	if err != nil || st.Mode().Perm() != 0o777 || st.Mode()&os.ModeSticky == 0 {
		t.Errorf("tmp: %v, %v", st, err)
	}
	if err := staticBinary(filepath.Join(dir, "bin", "busybox")); err != nil {
		t.Error(err)
	}
	if err := staticBinary("/bin/ls"); err == nil {
		t.Error("a dynamic program passed for a static one")
	}
}
