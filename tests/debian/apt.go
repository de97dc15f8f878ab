package debian

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

// Suite is a release of Debian, by its name in the archive.
type Suite string

// Machine is whatever this machine's apt is set up for.
const Machine Suite = ""

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Unpack fetches the packages and unpacks them, one over the other, into dir,
// which need not exist.
func (s Suite) Unpack(ctx context.Context, dir string, packages ...string) error {
	return s.unpack(ctx, dir, func(a *apt, into string) error {
		// Of the same name there may be others that this machine knows of.
		var named []string
		for _, p := range packages {
			if s != Machine {
				p += "/" + string(s)
			}
			named = append(named, p)
		}
		return a.run(ctx, into, append([]string{"download"}, named...)...)
	})
}

// UnpackAll does as Unpack for the packages and all that they depend on, down to
// the C library, so that their programs run on any machine with this kernel: see
// Wrap.
func (s Suite) UnpackAll(ctx context.Context, dir string, packages ...string) error {
	return s.unpack(ctx, dir, func(a *apt, into string) error {
		status := filepath.Join(into, "status") // of a system that has nothing
		if err := os.WriteFile(status, nil, 0o644); err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(into, "partial"), 0o755); err != nil {
			return err
		}
		return a.run(ctx, into, append([]string{
			"-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache::archives=" + into,
			"-o", "APT::Install-Recommends=false",
			"--yes", "--download-only", "install",
		}, packages...)...)
	})
}

// Update has this machine's own apt read its mirrors' lists: a fresh machine's apt
// knows no packages, and a stale one those that the mirror has no more.
func Update(ctx context.Context) error {
	_, err := output(exec.CommandContext(ctx, "apt-get", "update"))
	return err
}

func (s Suite) unpack(ctx context.Context, dir string, download func(a *apt, into string) error) error {
	work, err := os.MkdirTemp("", "debian")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	into := filepath.Join(work, "packages")
	if err := os.Mkdir(into, 0o755); err != nil {
		return err
	}
	a := &apt{}
	if s != Machine {
		if a, err = other(ctx, work, s); err != nil {
			return err
		}
	}
	err = download(a, into)
	if err != nil && s == Machine {
		if err := Update(ctx); err != nil {
			return err
		}
		err = download(a, into)
	}
	if err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(into, "*.deb"))
	if err != nil {
		return err
	}
	if len(debs) == 0 {
		return errors.New("apt-get downloaded nothing")
	}
	for _, deb := range debs {
		if _, err := output(exec.CommandContext(ctx, "dpkg", "-x", deb, dir)); err != nil {
			return err
		}
	}
	return nil
}

// apt is apt-get with its options.
type apt struct {
	options []string
}

// other is an apt that knows one suite alone and has its state in dir.
func other(ctx context.Context, dir string, s Suite) (*apt, error) {
	out, err := output(exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(REPO_URI)", "Created-By: Packages"))
	if err != nil {
		return nil, err
	}
	mirror, ok := debianMirror(out)
	if !ok {
		return nil, errors.New("this machine's apt has no mirror of Debian")
	}
	if _, err := os.Stat(keyring); err != nil {
		return nil, fmt.Errorf("the mirror's signature cannot be checked: %w", err)
	}
	sources := filepath.Join(dir, "one.sources")
	text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n", mirror, s, keyring)
	if err := os.WriteFile(sources, []byte(text), 0o644); err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	a := &apt{}
	for _, o := range []string{
		"Dir::State=" + dir,
		"Dir::State::lists=" + filepath.Join(dir, "lists"),
		"Dir::Cache=" + filepath.Join(dir, "cache"),
		"Dir::Etc::sourcelist=" + sources,
		"Dir::Etc::sourceparts=-",
		"Dir::Etc::preferences=-",
		"Dir::Etc::preferencesparts=-",
		"Acquire::Languages=none",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	} {
		a.options = append(a.options, "-o", o)
	}
	return a, a.run(ctx, dir, "update")
}

// run runs apt-get in dir.
func (a *apt) run(ctx context.Context, dir string, args ...string) error {
	// Root's apt would fetch as another user, who may not write where root may.
	args = append(append([]string{"-o", "APT::Sandbox::User=root"}, a.options...), args...)
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Dir = dir
	_, err := output(cmd)
	return err
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

// Find finds a file below dir by its name, or by its name before a "-".
func Find(dir, name string) (string, error) {
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

// output runs cmd and returns what it printed; the error holds all of that.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
