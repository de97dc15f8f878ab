package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Kernels before 5.12 bind with mount(2).
func TestBindByMountSetsFlagsAndLeavesTheSourceAlone(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	sysMount(t, "tmpfs", src, "tmpfs", 0, "")
	sysMount(t, "", src, "", unix.MS_SHARED, "")
	sysMount(t, "tmpfs", mkdir(t, src+"/sub"), "tmpfs", 0, "")
	m := Mount{Type: "bind", Source: src, Options: []string{"rbind", "ro", "nosuid"}}
	o, err := parseOptions(m.Options)
	if err != nil {
		t.Fatal(err)
	}
	if attached, err := m.bindByMount(at(t, root), &o); err != nil || !attached {
		t.Fatalf("attached %v, %v", attached, err)
	}
	wantMounts(t, root, 2)
	hasOptions(t, root, "ro", "nosuid")
	hasErrno(t, os.WriteFile(root+"/new", nil, 0o600), unix.EROFS)
	if err := UnmountAll(root); err != nil {
		t.Fatal(err)
	}
	wantMounts(t, root, 0)
	wantMounts(t, src, 2)
}

// As mount(2) does: what a remount does not ask for is cleared.
func TestFlagsOfTheSourceAreClearedWhenOthersAreAskedFor(t *testing.T) {
	for _, way := range []string{"by tree", "by mount"} {
		t.Run(way, func(t *testing.T) {
			root := bundle(t)
			src := mkdir(t, filepath.Dir(root)+"/src")
			sysMount(t, "tmpfs", src, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NOATIME, "")
			bindBy(t, way, root, Mount{Source: src, Options: []string{"bind"}})
			hasOptions(t, root, "rw", "nosuid", "noexec", "noatime")
			if err := UnmountAll(root); err != nil {
				t.Fatal(err)
			}
			bindBy(t, way, root, Mount{Source: src, Options: []string{"bind", "ro", "nodev"}})
			hasOptions(t, root, "ro", "nodev", "noatime", "!nosuid", "!noexec")
			if err := UnmountAll(root); err != nil {
				t.Fatal(err)
			}
			bindBy(t, way, root, Mount{Source: src, Options: []string{"bind", "strictatime"}})
			hasOptions(t, root, "!relatime", "!noatime")
		})
	}
}

func bindBy(t testing.TB, way, root string, m Mount) {
	t.Helper()
	o, err := parseOptions(m.Options)
	if err != nil {
		t.Fatal(err)
	}
	if way == "by mount" {
		_, err = m.bindByMount(at(t, root), &o)
	} else {
		_, err = m.bind(at(t, root), &o)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// In a user namespace the flags of mounts that came from outside are locked.
func TestLockedFlagsAreKept(t *testing.T) {
	root := bundle(t)
	src := mkdir(t, filepath.Dir(root)+"/src")
	sysMount(t, "tmpfs", src, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, "mode=755")
	for _, way := range []string{"by tree", "by mount"} {
		t.Run(way, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestInUserNamespaceReadOnlyBind$", "-test.v")
			cmd.Env = append(os.Environ(), "HOLDFAST_TEST_BIND="+strings.Join([]string{way, root, src}, "\n"))
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65536}},
			}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS: TestInUserNamespaceReadOnlyBind") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestInUserNamespaceReadOnlyBind is the part of TestLockedFlagsAreKept that runs
// in the namespace.
func TestInUserNamespaceReadOnlyBind(t *testing.T) {
	args := strings.Split(os.Getenv("HOLDFAST_TEST_BIND"), "\n")
	if len(args) != 3 {
		t.Skip("run by TestLockedFlagsAreKept")
	}
	way, root, src := args[0], args[1], args[2]
	bindBy(t, way, root, Mount{Source: src, Options: []string{"bind", "ro"}})
	hasOptions(t, root, "ro", "nosuid", "nodev", "noexec", "noatime")
}
