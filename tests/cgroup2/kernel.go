package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/holdfast-shim/holdfast/tests/debian"
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
	files := append(moduleNames(), "vmlinuz")
	dir, err := debian.Keep(ctx, kernelPackage, files, func(ctx context.Context, dir string) error {
		name, err := newest(ctx)
		if errors.Is(err, errNotOffered) {
			if err := debian.Update(ctx); err != nil {
				return err
			}
			name, err = newest(ctx)
		}
		if err != nil {
			return err
		}
		tree := filepath.Join(dir, "tree")
		if err := debian.Machine.Unpack(ctx, tree, name); err != nil {
			return err
		}
		for _, name := range files {
			found, err := debian.Find(tree, name)
			if err != nil {
				return err
			}
			if err := os.Rename(found, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return os.RemoveAll(tree)
	})
	if err != nil {
		return nil, err
	}
	k := &kernel{image: filepath.Join(dir, "vmlinuz")}
	for _, name := range moduleNames() {
		k.modules = append(k.modules, filepath.Join(dir, name))
	}
	return k, nil
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
