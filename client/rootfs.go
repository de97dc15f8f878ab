package client

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrNoBusybox says that there is no statically linked busybox to make a root
// filesystem from.
var ErrNoBusybox = errors.New("no statically linked busybox (Debian's package busybox-static)")

// busyboxPath is where Debian's busybox-static puts its one binary.
const busyboxPath = "/bin/busybox"

// MakeRootfs fills dir, which it makes, with a root filesystem of busybox
// alone: a copy of the host's /bin/busybox, a link for each of its applets,
// users root and nobody, and empty directories where a container's mounts go.
// The busybox must be linked statically, else the error is ErrNoBusybox.
//
// The copy is a real one: a container that writes to its /bin/busybox does not
// write to the host's.
func MakeRootfs(dir string) error {
	if err := staticBinary(busyboxPath); err != nil {
		return fmt.Errorf("make rootfs: %w: %w", ErrNoBusybox, err)
	}
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{
		{"", 0o755}, {"bin", 0o755}, {"dev", 0o755}, {"etc", 0o755}, {"home", 0o755},
		{"mnt", 0o755}, {"proc", 0o555}, {"root", 0o700}, {"run", 0o755}, {"sys", 0o555},
		{"tmp", 0o777 | os.ModeSticky}, {"usr", 0o755}, {"var", 0o755},
	} {
		p := filepath.Join(dir, d.path)
		if err := os.MkdirAll(p, 0o755); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
		// Not left to MkdirAll: the umask takes bits from it.
		if err := os.Chmod(p, d.mode); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
	}
	for _, link := range []struct{ to, at string }{
		{"bin", "sbin"}, {"../bin", "usr/bin"}, {"../bin", "usr/sbin"}, {"../tmp", "var/tmp"}, {"../run", "var/run"},
	} {
		if err := os.Symlink(link.to, filepath.Join(dir, link.at)); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
	}
	for _, f := range []struct{ path, text string }{
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
		{"etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
		{"etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
		{"etc/resolv.conf", ""},
	} {
		if err := os.WriteFile(filepath.Join(dir, f.path), []byte(f.text), 0o644); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
	}
	bb := filepath.Join(dir, "bin/busybox")
	if err := copyFile(busyboxPath, bb, 0o755); err != nil {
		return fmt.Errorf("make rootfs: %w", err)
	}
	list, err := exec.Command(busyboxPath, "--list").Output()
	if err != nil {
		return fmt.Errorf("make rootfs: %s --list: %w", busyboxPath, err)
	}
	for applet := range strings.FieldsSeq(string(list)) {
		if applet == "busybox" || strings.ContainsRune(applet, '/') {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return fmt.Errorf("make rootfs: %w", err)
		}
	}
	return nil
}

// staticBinary returns nil if path is an ELF program that needs no interpreter,
// and so runs where there is nothing else.
func staticBinary(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically", path)
		}
	}
	return nil
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
