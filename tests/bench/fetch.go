package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// A package is fetched by apt from the mirrors that this machine is set up for,
// and unpacked into the cache; nothing is installed and nothing that belongs to
// the machine's own apt is written.

const (
	packageName = "containerd"
	nextSuite   = "forky" // Debian's release in the making
	keyring     = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// cacheDir is where fetched shims are kept.
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

// installed finds the shim of the machine's containerd, or fetches the one that
// its apt offers.
func installed(ctx context.Context) (*shim, error) {
	if _, err := os.Stat(installedShim); err == nil {
		return rivalShim(installedShim)
	}
	return cached("offered", func(dir string) error {
		return download(ctx, dir, packageName)
	})
}

// next is the shim of Debian's next release.
func next(ctx context.Context) (*shim, error) {
	return cached(nextSuite, func(dir string) error {
		out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
			"--format", "$(REPO_URI)", "Created-By: Packages"))
		if err != nil {
			return err
		}
		mirror, ok := debianMirror(out)
		if !ok {
			return errors.New("this machine's apt has no mirror of Debian")
		}
		if _, err := os.Stat(keyring); err != nil {
			return fmt.Errorf("the mirror's signature cannot be checked: %w", err)
		}
		options, err := privateApt(dir, mirror)
		if err != nil {
			return err
		}
		if _, err := output(exec.CommandContext(ctx, "apt-get", append(options, "update")...)); err != nil {
			return err
		}
		return download(ctx, dir, packageName+"/"+nextSuite, options...)
	})
}

// cached returns the shim that the cache has under name, and has fetch bring a
// package into a new directory if it has none.
func cached(name string, fetch func(dir string) error) (*shim, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(cache, name, shimFile)
	if _, err := os.Stat(kept); err == nil {
		return rivalShim(kept)
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, "fetch")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintf(os.Stderr, "fetching the shim of %s's containerd into %s\n", name, cache)
	if err := fetch(dir); err != nil {
		return nil, err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		return nil, fmt.Errorf("apt-get download left %d packages, want 1", len(debs))
	}
	tree := filepath.Join(dir, "tree")
	if _, err := output(exec.Command("dpkg", "-x", debs[0], tree)); err != nil {
		return nil, err
	}
	found, err := find(tree, shimFile)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(found, kept); err != nil {
		return nil, err
	}
	return rivalShim(kept)
}

// download puts a package into dir. Root's apt would fetch as another user, who
// may not write there.
func download(ctx context.Context, dir, what string, options ...string) error {
	cmd := exec.CommandContext(ctx, "apt-get", append(options, "-o", "APT::Sandbox::User=root", "download", what)...)
	cmd.Dir = dir
	_, err := output(cmd)
	return err
}

// privateApt writes a list of sources with the next suite alone and returns the
// options by which apt uses it, with its state in dir.
func privateApt(dir, mirror string) ([]string, error) {
	sources := filepath.Join(dir, "next.sources")
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", mirror, nextSuite, keyring)
	if err := os.WriteFile(sources, []byte(text), 0o644); err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	var options []string
	for _, o := range []string{
		"Dir::State=" + dir,
		"Dir::State::lists=" + filepath.Join(dir, "lists"),
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"Dir::Etc::sourcelist=" + sources,
		"Dir::Etc::sourceparts=-",
		"Acquire::Languages=none",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"APT::Sandbox::User=root",
	} {
		options = append(options, "-o", o)
	}
	return options, nil
}

// debianMirror picks the mirror of Debian's own archive from the addresses of
// the repositories that apt is set up for, one a line. An archive's path ends in
// "debian" by custom; its security updates are elsewhere.
func debianMirror(repositories string) (string, bool) {
	for line := range strings.Lines(repositories) {
		line = strings.TrimSpace(line)
		u, err := url.Parse(line)
		if err == nil && u.Host != "" && path.Base(u.Path) == "debian" && !strings.HasPrefix(u.Host, "security.") {
			return line, true
		}
	}
	return "", false
}

func find(dir, name string) (string, error) {
	var found string
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() == name {
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

// output runs cmd and returns what it printed; the error holds all of that.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
