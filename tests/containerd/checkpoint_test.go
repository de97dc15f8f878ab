package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/criu"
)

// ticking counts in a file behind a gate.
const ticking = "i=0; while :; do i=$((i+1)); echo $i >>/mnt/ticks; sleep 0.02; done"

// numbers fails the test unless a file behind the gate holds 1, 2, 3 and so on, and
// returns the last.
func (g *gate) numbers(name string) int {
	g.d.t.Helper()
	b, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		g.d.t.Fatal(err)
	}
	text := string(b)
	last := 0
	for f := range strings.FieldsSeq(text[:strings.LastIndexByte(text, '\n')+1]) {
		n, err := strconv.Atoi(f)
		if err != nil || n != last+1 {
			g.d.t.Fatalf("%q follows %d: %v", f, last, err)
		}
		last = n
	}
	return last
}

// ctr pauses the container, has it written to an image that goes into the content
// store, and makes another container from there.
func TestACheckpointInTheContentStoreIsRestored(t *testing.T) {
	criu.Need(t)
	d := start(t)
	d.importImage()
	g := d.gate()
	d.runImage(g.flags(), "c", "sh", "-c", ticking)
	g.grows("ticks")
	d.must("container", "checkpoint", "--image", "--task", "c", "holdfast.test/checkpoint:latest")
	d.status("c", "RUNNING")
	g.grows("ticks")
	d.story("c", "create", "start", "paused", "checkpointed", "resumed")
	d.finish("c")

	// The file goes on from the checkpoint.
	was := g.numbers("ticks")
	if err := os.Remove(filepath.Join(g.dir, "ticks")); err != nil {
		t.Fatal(err)
	}
	fifos := fifosBefore(t)
	d.expect("r")
	d.must("container", "restore", "--live", "r", "holdfast.test/checkpoint:latest")
	d.shimOf("r")
	d.status("r", "RUNNING")
	g.grows("ticks")
	b, err := os.ReadFile(filepath.Join(g.dir, "ticks"))
	if err != nil {
		t.Fatal(err)
	}
	var first int
	if _, err := fmt.Sscan(string(b), &first); err != nil || first < 2 || first > was {
		t.Errorf("went on with %d (%v), and had counted to %d some time after the checkpoint", first, err, was)
	}
	d.finish("r")
	d.story("r", "create", "start", "exit 137", "delete 137")
	fifos.remove(t)
}

// With a path of the user's nothing goes into the store.
func TestACheckpointInADirectoryEndsTheContainerIfItIsTo(t *testing.T) {
	criu.Need(t)
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", ticking)
	g.grows("ticks")
	image, work := filepath.Join(d.dir, "image"), filepath.Join(d.dir, "work")
	d.must("task", "checkpoint", "--exit", "--image-path", image, "--work-path", work, "c")
	d.stopped("c")
	for _, file := range []string{filepath.Join(image, "inventory.img"), filepath.Join(work, "dump.log")} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	d.remove("c")
	d.story("c", "create", "start", "paused", "exit 137", "checkpointed", "delete 137")
}

func TestACheckpointThatFailsTellsTheUserWhy(t *testing.T) {
	criu.Need(t)
	d := start(t)
	d.run("c", "sleep", "1000")
	d.refused("not an absolute path", "task", "checkpoint", "--image-path", "image", "c")
	d.status("c", "RUNNING")
	d.finish("c")
}

// fifos are the directories that ctr makes where it takes no other place for them,
// and leaves there when it does not wait for the container.
type fifos map[string]bool

const fifoDir = "/run/containerd/fifo"

func fifosBefore(t *testing.T) fifos {
	t.Helper()
	before := make(fifos)
	entries, err := os.ReadDir(fifoDir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		before[e.Name()] = true
	}
	return before
}

// remove removes those of the containers called r that have come since.
func (f fifos) remove(t *testing.T) {
	t.Helper()
	for name := range fifosBefore(t) {
		dir := filepath.Join(fifoDir, name)
		if _, err := os.Stat(filepath.Join(dir, "r-stdout")); !f[name] && err == nil {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	}
}
