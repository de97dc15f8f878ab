package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kernelPackage is Debian's kernel for virtual machines: it boots quickly and has
// what nodes in clouds have.
const kernelPackage = "linux-image-cloud-amd64"

// moduleNames are the modules that the tests need: overlays for root filesystems,
// and loop devices for the mounts of image files. They depend on no other.
func moduleNames() []string { return []string{"overlay.ko", "loop.ko"} }

// kernel is a kernel's files on this machine.
type kernel struct {
	image   string
	modules []string // in the order of loading
}

// fetchKernel returns the cache's kernel, which it fetches if there is none.
func fetchKernel(ctx context.Context) (*kernel, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	k := &kernel{image: filepath.Join(cache, kernelPackage, "vmlinuz")}
	for _, name := range moduleNames() {
		k.modules = append(k.modules, filepath.Join(cache, kernelPackage, name))
	}
	if k.complete() {
		return k, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(os.Stderr, "fetching %s into %s\n", kernelPackage, cache)
	tree, err := unpacked(ctx, dir)
	if err != nil {
		return nil, err
	}
	ready := filepath.Join(dir, "ready")
	if err := os.Mkdir(ready, 0o755); err != nil {
		return nil, err
	}
	for _, name := range append(moduleNames(), "vmlinuz") {
		found, err := find(tree, name)
		if err != nil {
			return nil, err
		}
		if err := os.Rename(found, filepath.Join(ready, name)); err != nil {
			return nil, err
		}
	}
	kept := filepath.Dir(k.image)
	if err := os.RemoveAll(kept); err != nil {
		return nil, err
	}
	return k, os.Rename(ready, kept)
}

func (k *kernel) complete() bool {
	for _, f := range append([]string{k.image}, k.modules...) {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

// cacheDir is where what was fetched is kept.
func cacheDir() (string, error) {
	if dir := os.Getenv("HOLDFAST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "holdfast"), nil
}

// unpacked fetches the newest kernel that this machine's apt offers and returns
// its files' directory, below dir.
func unpacked(ctx context.Context, dir string) (string, error) {
	name, err := newest(ctx)
	if errors.Is(err, errNotOffered) {
		// A fresh machine's apt knows no packages.
		if _, err := output(exec.CommandContext(ctx, "apt-get", "update")); err != nil {
			return "", err
		}
		name, err = newest(ctx)
	}
	if err != nil {
		return "", err
	}
	// Root's apt would fetch as another user, who may not write there.
	fetch := exec.CommandContext(ctx, "apt-get", "-o", "APT::Sandbox::User=root", "download", name)
	fetch.Dir = dir
	if _, err := output(fetch); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(debs) != 1 {
		return "", fmt.Errorf("apt-get download left %d packages, want 1", len(debs))
	}
	tree := filepath.Join(dir, "tree")
	_, err = output(exec.CommandContext(ctx, "dpkg", "-x", debs[0], tree))
	return tree, err
}

var errNotOffered = errors.New("this machine's apt has no package " + kernelPackage)

// newest is the package that kernelPackage, which is empty, depends on.
func newest(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", kernelPackage).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", err
	}
	for line := range strings.Lines(string(out)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: "); ok && strings.HasPrefix(name, "linux-image-") {
			return name, nil
		}
	}
	return "", errNotOffered
}

// find finds a file by its name, or by its name before a "-", below dir.
func find(dir, name string) (string, error) {
	var found string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && (e.Name() == name || strings.HasPrefix(e.Name(), name+"-")) {
			found = p
			return fs.SkipAll
		}
		return err
	})
	if err == nil && found == "" {
		err = fmt.Errorf("there is no %s in the package", name)
	}
	return found, err
}
