package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/holdfast-shim/holdfast/tests/debian"
)

// release is one containerd of the table, with the Docker that goes on it.
type release struct {
	name     string       // as in README's table: "1.6"
	suite    debian.Suite // which has it, and the Docker
	packages []string     // of the suite

	dir string // holds the programs, once they are there
}

// releases are those that nodes run, the oldest first, as Debian has them.
func releases() []*release {
	return []*release{
		{name: "1.6", suite: "bookworm", packages: []string{"containerd", "docker.io", "tini"}},
		{name: "1.7", suite: "trixie", packages: []string{"containerd", "docker.io", "docker-cli", "tini"}},
		{name: "2.1", suite: "forky", packages: []string{"containerd", "docker.io", "docker-cli", "tini-static"}},
	}
}

// Programs of a release; docker-init is tini by another name.
var (
	containerdPrograms = []string{"containerd", "ctr", "containerd-shim-runc-v2"}
	dockerPrograms     = []string{"dockerd", "docker", "docker-init"}
)

// fetch brings the release's programs into the cache.
func (r *release) fetch(ctx context.Context) error {
	all := append(append([]string{}, containerdPrograms...), dockerPrograms...)
	dir, err := debian.Keep(ctx, "daemons-"+string(r.suite), all, r.unpack)
	if err != nil {
		return fmt.Errorf("fetch containerd and Docker of %s: %w", r.suite, err)
	}
	r.dir = dir
	return nil
}

// unpack puts the programs of the suite's packages into dir.
func (r *release) unpack(ctx context.Context, dir string) error {
	tree := filepath.Join(dir, "tree")
	if err := r.suite.Unpack(ctx, tree, r.packages...); err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	for _, name := range append(append([]string{}, containerdPrograms...), dockerPrograms...) {
		file := name
		if name == "docker-init" {
			file = "tini-static"
		}
		found, err := program(tree, file)
		if err != nil {
			return err
		}
		if err := os.Rename(found, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// program finds a program where packages have them.
func program(tree, name string) (string, error) {
	for _, dir := range []string{"usr/bin", "usr/sbin", "bin", "sbin"} {
		path := filepath.Join(tree, dir, name)
		if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s in the packages", name)
}

// version is what the daemon says that it is.
func (r *release) version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(r.dir, "containerd"), "--version").Output()
	if err != nil {
		return "", fmt.Errorf("containerd --version: %w", err)
	}
	// containerd github.com/containerd/containerd 1.6.20~ds1 REVISION
	f := strings.Fields(string(out))
	if len(f) < 3 {
		return "", fmt.Errorf("containerd --version: %q", out)
	}
	version, _, _ := strings.Cut(f[2], "~")
	version, _, _ = strings.Cut(version, "+")
	return version, nil
}
