package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// theirs is the name of the runtime that is containerd's own shim.
const theirs = "io.containerd.theirs.v2"

// own lays out containerd's own shim under a name beside the one under test.
func (d *daemon) own() {
	d.t.Helper()
	if d.release.shim == d.shim {
		d.t.Fatalf("%s, said to be containerd's own shim, is the one under test", d.release.shim)
	}
	if err := os.Symlink(d.release.shim, filepath.Join(d.dir, "bin", "containerd-shim-theirs-v2")); err != nil {
		d.t.Fatal(err)
	}
}

func TestContainersOfTwoKindsOfShimLiveSideBySide(t *testing.T) {
	d := start(t)
	d.own()
	const each = 3
	shims := make(map[string]int)
	at := func(id string) int {
		if id[0] == 't' {
			return d.shimAt(id, d.release.shim)
		}
		return d.shimOf(id)
	}
	for i := range each {
		for _, kind := range []struct{ name, runtime string }{{"ours", "io.containerd.runc.v2"}, {"theirs", theirs}} {
			id := fmt.Sprintf("%s%d", kind.name, i)
			d.must(d.runArgs([]string{"-d", "--runtime", kind.runtime}, id, "sleep", "1000")...)
			shims[id] = at(id)
		}
	}
	use := func(when string) {
		t.Helper()
		for id, was := range shims {
			if got := at(id); got != was {
				t.Errorf("%s: the shim of %s was %d and is %d", when, id, was, got)
			}
			if s := d.exec(id, "x-"+when, "sh", "-c", "echo in; exit 3"); s.code() != 3 || s.Out.String() != "in\n" {
				t.Errorf("%s: exec in %s: %d, %q, %s", when, id, s.code(), s.Out, s.Err)
			}
		}
	}
	use("before")
	d.kill()
	d.up()
	use("after")
	// A shim's loss is nobody else's.
	d.killShim("ours0")
	d.event("ours0", "delete 137")
	delete(shims, "ours0")
	d.must("container", "rm", "ours0")
	use("without-one")
	for id := range shims {
		d.finish(id)
	}
	for id := range shims {
		d.event(id, "exit 137")
		if id[0] == 't' {
			continue // that kind may be gone before it has sent its last event
		}
		d.event(id, "delete 137")
		story := d.events.story(id)
		if len(story) < 2 || !slices.Equal(story[len(story)-2:], []string{"exit 137", "delete 137"}) {
			t.Errorf("story of %s: %q", id, story)
		}
	}
}
