package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/client"
)

// defaultState is where containerd keeps bundles unless told otherwise.
const defaultState = "/run/containerd/io.containerd.runtime.v2.task"

// choice says which of the node's containers a command is about.
type choice struct {
	Namespace string // all of them if empty
	State     string // where to look besides; may be empty
	Patience  time.Duration
}

func (c *choice) bind(f *flag.FlagSet) {
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	f.StringVar(&c.Namespace, "namespace", "", "only containers of the containerd namespace `NAME`; Kubernetes' are in k8s.io, Docker's in moby")
	f.StringVar(&c.State, "state", "", "look for bundles in `DIR`/<namespace>/<id> as well as where running shims have theirs")
	f.DurationVar(&c.Patience, "timeout", 2*time.Second, "give a shim `TIME` to answer: one that is well needs some milliseconds")
}

// bundles finds them: in containerd's own place, where a shim may be gone, and
// wherever a shim runs that is any containerd's.
func (c *choice) bundles() ([]*client.Bundle, error) {
	if c.Patience <= 0 {
		return nil, fmt.Errorf("timeout %v: must be above zero", c.Patience)
	}
	if c.State != "" {
		if st, err := os.Stat(c.State); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		} else if !st.IsDir() {
			return nil, fmt.Errorf("state: %s is not a directory", c.State)
		}
	}
	states, err := statesOfShims("/proc")
	if err != nil {
		return nil, err
	}
	var all []*client.Bundle
	for _, state := range distinct(append(states, defaultState, c.State)) {
		found, err := client.Bundles(state)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	all = slices.DeleteFunc(all, func(b *client.Bundle) bool { return c.Namespace != "" && b.Namespace != c.Namespace })
	slices.SortStableFunc(all, func(a, b *client.Bundle) int {
		return strings.Compare(a.Namespace+"/"+a.ID, b.Namespace+"/"+b.ID)
	})
	return all, nil
}

// distinct leaves each directory in once, by whatever path, in a fixed order.
func distinct(dirs []string) []string {
	var out []string
	var seen []os.FileInfo
	slices.Sort(dirs)
	for _, dir := range dirs {
		st, err := os.Stat(dir)
		if err != nil || slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, st) }) {
			continue
		}
		seen, out = append(seen, st), append(out, dir)
	}
	return out
}

// statesOfShims are the directories that running shims have their bundles in. A
// shim of whatever kind goes by a name that begins alike, and works in the bundle of
// its first container. proc is where procfs is mounted.
//
// What belongs to another mount namespace, as a containerd's that is in a container
// itself, is left out: its paths mean nothing here.
func statesOfShims(proc string) ([]string, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("look for shims: %w", err)
	}
	var states []string
	for _, e := range entries {
		dir := filepath.Join(proc, e.Name())
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// Any of the files may be gone by the time it is read.
		name, err := os.ReadFile(dir + "/comm")
		if err != nil || !strings.HasPrefix(string(name), "containerd-shim") {
			continue
		}
		workedIn, err := bundle.WorkedIn(dir)
		if err != nil {
			continue
		}
		state := filepath.Dir(filepath.Dir(workedIn))
		here, err := os.Stat(state)
		there, errThere := os.Stat(dir + "/root" + state)
		if err == nil && errThere == nil && os.SameFile(here, there) {
			states = append(states, state)
		}
	}
	return states, nil
}

// errNone says that there is no such container.
var errNone = errors.New("no such container")

// one finds the only container with that id, or whose id begins so.
func (c *choice) one(id string) (*client.Bundle, error) {
	all, err := c.bundles()
	if err != nil {
		return nil, err
	}
	var exact, alike []*client.Bundle
	for _, b := range all {
		if b.ID == id {
			exact = append(exact, b)
		}
		if strings.HasPrefix(b.ID, id) {
			alike = append(alike, b)
		}
	}
	if len(exact) > 0 {
		alike = exact
	}
	if id == "" || len(alike) == 0 {
		return nil, fmt.Errorf("%w: %q", errNone, id)
	}
	if len(alike) > 1 {
		return nil, fmt.Errorf("%q may be %s or %s: --namespace or more of the id tells which", id, alike[0].Path, alike[1].Path)
	}
	return alike[0], nil
}
