package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/holdfast-shim/holdfast/tests/debian"
)

const (
	packageName = "containerd"
	nextSuite   = debian.Suite("forky") // Debian's release in the making
)

// installed finds the shim of the machine's containerd, or fetches the one that
// its apt offers.
func installed(ctx context.Context) (*shim, error) {
	if _, err := os.Stat(installedShim); err == nil {
		return rivalShim(installedShim)
	}
	return fetched(ctx, "offered", debian.Machine)
}

// next is the shim of Debian's next release.
func next(ctx context.Context) (*shim, error) {
	return fetched(ctx, string(nextSuite), nextSuite)
}

// fetched is the shim of a suite's containerd, which the cache keeps under name.
func fetched(ctx context.Context, name string, suite debian.Suite) (*shim, error) {
	dir, err := debian.Keep(ctx, name, []string{shimFile}, func(ctx context.Context, dir string) error {
		tree := filepath.Join(dir, "tree")
		if err := suite.Unpack(ctx, tree, packageName); err != nil {
			return err
		}
		found, err := debian.Find(tree, shimFile)
		if err != nil {
			return err
		}
		if err := os.Rename(found, filepath.Join(dir, shimFile)); err != nil {
			return err
		}
		return os.RemoveAll(tree)
	})
	if err != nil {
		return nil, err
	}
	return rivalShim(filepath.Join(dir, shimFile))
}
