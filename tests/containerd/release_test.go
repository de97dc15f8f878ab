package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// release is a containerd as it was released: its programs, each a path free of
// links.
type release struct {
	version         string // as the daemon says it
	containerd, ctr string
	shim            string // its own
	dockerd, docker string // empty where there is no Docker
	dockerInit      string
}

func (r release) String() string { return "containerd " + r.version }

// releases are the one under test and those that follow it when it is upgraded,
// in their order. HOLDFAST_DAEMONS lists a directory for each, with its programs,
// as PATH lists its own; without it, it is the machine's containerd alone.
var releases = sync.OnceValues(func() ([]release, error) {
	var all []release
	for _, dir := range filepath.SplitList(os.Getenv("HOLDFAST_DAEMONS")) {
		r, err := readRelease(func(name string) (string, error) { return filepath.Join(dir, name), nil })
		if err != nil {
			return nil, fmt.Errorf("HOLDFAST_DAEMONS: %w", err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		r, err := readRelease(exec.LookPath)
		if err != nil {
			return nil, fmt.Errorf("install Debian's package containerd: %w", err)
		}
		all = append(all, r)
	}
	return all, nil
})

func readRelease(find func(string) (string, error)) (release, error) {
	var r release
	for name, path := range map[string]*string{"containerd": &r.containerd, "ctr": &r.ctr, "containerd-shim-runc-v2": &r.shim} {
		found, err := find(name)
		if err == nil {
			found, err = filepath.EvalSymlinks(found)
		}
		if err != nil {
			return r, fmt.Errorf("%s is missing: %w", name, err)
		}
		*path = found
	}
	for name, path := range map[string]*string{"dockerd": &r.dockerd, "docker": &r.docker, "docker-init": &r.dockerInit} {
		// Only Docker's tests need it, and say so.
		if found, err := find(name); err == nil {
			if found, err = filepath.EvalSymlinks(found); err == nil {
				*path = found
			}
		}
	}
	out, err := exec.Command(r.containerd, "--version").Output()
	if err != nil {
		return r, fmt.Errorf("%s --version: %w", r.containerd, err)
	}
	// containerd github.com/containerd/containerd 1.6.20~ds1 REVISION
	f := strings.Fields(string(out))
	if len(f) < 3 {
		return r, fmt.Errorf("%s --version: %q", r.containerd, out)
	}
	r.version = strings.TrimPrefix(f[2], "v")
	return r, nil
}
