package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// unwritable is a container that criu does not write down: it holds a lock.
func unwritable(t *testing.T, d *harness.Daemon) *harness.Container {
	t.Helper()
	dir := holder(t, d)
	want := holding(dir, "lock", filepath.Join(dir, "lock"))
	c := d.CreateWant(want)
	c.Start()
	counted(t, d, c, 2)
	return c
}

func TestAFailedCheckpointSaysWhyAndWhereMoreIsAndLeavesNoImage(t *testing.T) {
	d := start(t)
	c := unwritable(t, d)
	image := filepath.Join(d.Dir, "image")
	kept := filepath.Join(c.Bundle.Path, "criu-dump.log")

	err := c.Checkpoint(d.Ctx(), image, nil)
	d.WantCode("checkpoint", err, codes.Unknown)
	for _, want := range []string{"OCI runtime checkpoint failed: runc checkpoint: criu failed: ", "file lock", "(log file: " + kept + ")"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if log, err := os.ReadFile(kept); err != nil || !strings.Contains(string(log), "Dumping FAILED.") {
		t.Errorf("criu's log is not there: %v", err)
	}
	if _, err := os.Stat(image); !os.IsNotExist(err) {
		t.Errorf("an image is left: %v, %v", harness.Names(image), err)
	}
	if names := harness.Names(filepath.Join(c.Bundle.Path, "work")); len(names) > 0 {
		t.Errorf("left in the container's directory: %v", names)
	}

	// With a work path of the user's it is that log, and a directory that was there
	// stays.
	work := filepath.Join(d.Dir, "work")
	if err := os.Mkdir(image, 0o755); err != nil {
		t.Fatal(err)
	}
	err = c.Checkpoint(d.Ctx(), image, &runcopts.CheckpointOptions{Exit: true, WorkPath: work})
	if want := "(log file: " + filepath.Join(work, "dump.log") + ")"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if _, err := os.Stat(image); err != nil {
		t.Error(err)
	}

	if s, err := c.State(d.Ctx()); err != nil || s.Status != types.Status_RUNNING {
		t.Errorf("the container is %v, %v", s, err)
	}
	counted(t, d, c, len(numbers(t, c.Out))+2)
	c.Finish()
	d.WantStory(c, "create", "start", "exit 137", "delete 137")
}

func TestACreateFromWhatIsNoCheckpointLeavesNothing(t *testing.T) {
	d := start(t)
	empty := filepath.Join(d.Dir, "empty")
	broken := filepath.Join(d.Dir, "broken")
	for _, dir := range []string{empty, broken} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(broken, "inventory.img"), "x")
	write(t, filepath.Join(broken, "holdfast.json"), "{")
	for _, bad := range []struct{ image, says string }{
		{filepath.Join(d.Dir, "none"), "no such file"},
		{empty, "inventory.img"},
		{"relative", "not an absolute path"},
		{broken, "holdfast.json"},
	} {
		_, err := d.TryCreate(harness.Want{Args: counting, Checkpoint: bad.image})
		d.WantCode(bad.image, err, codes.InvalidArgument)
		if err != nil && (!strings.Contains(err.Error(), bad.says) || !strings.Contains(err.Error(), bad.image)) {
			t.Errorf("%s: %v, want %q", bad.image, err, bad.says)
		}
	}
	if names := harness.Names(empty); len(names) > 0 {
		t.Errorf("in the directory: %v", names)
	}
	// The harness sees what is left.
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// written is the image of a counting container that has ended, and the last number.
func written(t *testing.T, d *harness.Daemon) (image string, last int) {
	t.Helper()
	image = filepath.Join(d.Dir, "image")
	c := d.Run(counting...)
	counted(t, d, c, 3)
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	c.Delete()
	return image, len(numbers(t, c.Out))
}

func TestAFailedRestoreSaysWhyAndLeavesNothingAndMayBeTriedAgain(t *testing.T) {
	d := start(t)
	image, last := written(t, d)
	// Without the memory of its init.
	hidden := hide(t, image)

	r := d.CreateWant(harness.Want{Args: counting, Checkpoint: image})
	log := filepath.Join(r.Bundle.Path, "work", "restore.log")
	for range 2 {
		_, err := r.Container.Start(d.Ctx())
		d.WantCode("start", err, codes.Unknown)
		for _, want := range []string{"OCI runtime restore failed: runc restore: criu failed: ", "Can't read", "(log file: " + log + ")"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "Restoring FAILED.") {
			t.Errorf("criu's log is not there: %v", err)
		}
		if names := harness.Names("/run/containerd/runc/" + d.Namespace); len(names) > 0 {
			t.Errorf("the runtime still knows %v", names)
		}
		if groups := groupsOf(t, d, r); len(groups) > 0 {
			t.Errorf("cgroups are left: %v", groups)
		}
		if s, err := r.State(d.Ctx()); err != nil || s.Status != types.Status_CREATED || s.Pid != 0 {
			t.Errorf("the container is %v, %v", s, err)
		}
	}
	for from, to := range hidden {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	r.Start()
	counted(t, d, r, 2)
	if first := numbers(t, r.Out)[0]; first != last+1 {
		t.Errorf("went on with %d after %d", first, last)
	}
	r.Kill(syscall.SIGTERM)
	if status := r.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
	r.Delete()
	d.WantStory(r, "create", "start", "exit 7", "delete 7")
}

func TestAContainerWhoseRestoreFailedCanBeDeleted(t *testing.T) {
	d := start(t)
	image, _ := written(t, d)
	hide(t, image)
	r := d.CreateWant(harness.Want{Args: counting, Checkpoint: image})
	if _, err := r.Container.Start(d.Ctx()); err == nil {
		t.Fatal("it was restored without its memory")
	}
	r.Delete()
	d.WantStory(r, "create", "delete 0")
}

// hide takes the pages of memory from an image and returns how they are put back.
func hide(t *testing.T, image string) map[string]string {
	t.Helper()
	pages, err := filepath.Glob(filepath.Join(image, "pages-*.img"))
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages in %v: %v", harness.Names(image), err)
	}
	hidden := make(map[string]string)
	for _, p := range pages {
		hidden[p+".hidden"] = p
		if err := os.Rename(p, p+".hidden"); err != nil {
			t.Fatal(err)
		}
	}
	return hidden
}

// groupsOf are the container's cgroups.
func groupsOf(t *testing.T, d *harness.Daemon, c *harness.Container) []string {
	t.Helper()
	v1, err := filepath.Glob("/sys/fs/cgroup/*/" + d.Namespace + "/" + c.ContainerID)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := filepath.Glob("/sys/fs/cgroup/" + d.Namespace + "/" + c.ContainerID)
	if err != nil {
		t.Fatal(err)
	}
	return append(v1, v2...)
}

func TestWithoutCriuTheErrorSaysSo(t *testing.T) {
	d := start(t)
	image, _ := written(t, d)
	bin := filepath.Join(d.Dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	// A PATH with what a container needs, but no criu.
	without := harness.New(t, harness.Env("PATH="+bin))
	runc, err := findIn(os.Getenv("PATH"), "runc")
	if err != nil {
		t.Fatal(err)
	}
	o := &runcopts.Options{BinaryName: runc}
	c := without.CreateWant(harness.Want{Args: counting, Options: o})
	c.Start()
	err = c.Checkpoint(without.Ctx(), filepath.Join(without.Dir, "image"), &runcopts.CheckpointOptions{Exit: true})
	without.WantCode("checkpoint", err, codes.Unimplemented)
	if err == nil || !strings.Contains(err.Error(), `"criu": executable file not found in $PATH`) {
		t.Errorf("%v", err)
	}
	if names := harness.Names(filepath.Join(without.Dir, "image")); names != nil {
		t.Errorf("an image is left: %v", names)
	}
	counted(t, without, c, len(numbers(t, c.Out))+2)
	c.Finish()

	r := without.CreateWant(harness.Want{Args: counting, Options: o, Checkpoint: image})
	_, err = r.Container.Start(without.Ctx())
	without.WantCode("restore", err, codes.Unimplemented)
	r.Delete()
}

func findIn(path, name string) (string, error) {
	for dir := range strings.SplitSeq(path, ":") {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", name, path)
}

// The runtime is killed with criu when it takes too long; what criu froze would stay
// so, since it is criu that thaws it.
func TestACheckpointPastItsDeadlineLeavesTheContainerRunning(t *testing.T) {
	d := start(t, harness.Env("HOLDFAST_RUNC_TIMEOUT_CHECKPOINT=3s"))
	stub := d.Stub()
	stub.Set(map[string]harness.Fault{"checkpoint": {Mark: stub.File("begun"), Hang: true}})
	c := d.CreateWant(harness.Want{Args: counting, Options: stub.Options()})
	c.Start()
	counted(t, d, c, 3)
	image := filepath.Join(d.Dir, "image")
	failed := make(chan error, 1)
	go func() { failed <- c.Checkpoint(d.Ctx(), image, nil) }()
	stub.WaitFile(d, "begun")
	freeze(t, d, c)
	err := <-failed
	d.WantCode("checkpoint", err, codes.Unavailable)
	if _, err := os.Stat(image); !os.IsNotExist(err) {
		t.Errorf("an image is left: %v", err)
	}
	counted(t, d, c, len(numbers(t, c.Out))+3)
	c.Kill(syscall.SIGTERM)
	if status := c.Wait(); status != 7 {
		t.Errorf("status %d", status)
	}
	c.Delete()
}

// freeze freezes the container as criu does.
func freeze(t *testing.T, d *harness.Daemon, c *harness.Container) {
	t.Helper()
	for _, g := range groupsOf(t, d, c) {
		for file, value := range map[string]string{"freezer.state": "FROZEN", "cgroup.freeze": "1"} {
			path := filepath.Join(g, file)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			write(t, path, value)
			return
		}
	}
	t.Fatal("there is nothing to freeze the container by")
}

func TestARestorePastItsDeadlineLeavesNothing(t *testing.T) {
	d := start(t, harness.Env("HOLDFAST_RUNC_TIMEOUT_RESTORE=2s"))
	image, _ := written(t, d)
	stub := d.Stub()
	// The first time it does all of its work and then hangs: init runs already.
	stub.Set(map[string]harness.Fault{"restore": {Times: 1, After: true, Hang: true}})
	r := d.CreateWant(harness.Want{Args: counting, Options: stub.Options(), Checkpoint: image})
	_, err := r.Container.Start(d.Ctx())
	d.WantCode("start", err, codes.Unavailable)
	if groups := groupsOf(t, d, r); len(groups) > 0 {
		t.Errorf("cgroups are left: %v", groups)
	}
	if names := harness.Names("/run/containerd/runc/" + d.Namespace); len(names) > 0 {
		t.Errorf("the runtime still knows %v", names)
	}
	r.Delete()
	d.WantStory(r, "create", "delete 0")
}

// The argument lists of a whole shim.
func TestTheRuntimeIsCalledAsContainerdsShimCallsIt(t *testing.T) {
	d := start(t)
	image, _ := written(t, d)
	stub := d.Stub()
	o := stub.Options()
	o.CriuWorkPath = filepath.Join(d.Dir, "work")
	r := d.CreateWant(harness.Want{Args: counting, Options: o, Checkpoint: image})
	r.Start()
	counted(t, d, r, 2)
	second := filepath.Join(d.Dir, "second")
	checkpoint(t, d, r, second, &runcopts.CheckpointOptions{FileLocks: true})
	r.Finish()
	var got []string
	for _, call := range stub.Calls() {
		if call.Verb == "restore" || call.Verb == "checkpoint" {
			at := slices.Index(call.Args, call.Verb)
			got = append(got, strings.Join(call.Args[at:], " "))
		}
	}
	want := []string{
		fmt.Sprintf("restore --image-path %s --work-path %s --detach --bundle %s --pid-file %s/init.pid %s",
			image, o.CriuWorkPath, r.Bundle.Path, r.Bundle.Path, r.ContainerID),
		fmt.Sprintf("checkpoint --image-path %s --work-path %s --file-locks --leave-running %s", second, o.CriuWorkPath, r.ContainerID),
	}
	if !slices.Equal(got, want) {
		t.Errorf("called\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A runtime that leaves a process but never sends its pty.
func TestARestoreWithoutItsTerminalMayBeTriedAgain(t *testing.T) {
	d := start(t)
	image := filepath.Join(d.Dir, "image")
	want := harness.Want{Args: counting, Streams: client.Streams{Terminal: true}}
	c := d.CreateWant(want)
	c.Start()
	counted(t, d, c, 2)
	checkpoint(t, d, c, image, &runcopts.CheckpointOptions{Exit: true})
	c.Delete()

	stub := d.Stub()
	want.Options, want.Checkpoint = stub.Options(), image
	r := d.CreateWant(want)
	left := harness.Exits(0)
	left.Orphan = filepath.Join(r.Bundle.Path, "init.pid")
	stub.Set(map[string]harness.Fault{"restore": left})
	if _, err := r.Container.Start(d.Ctx()); err == nil || !strings.Contains(err.Error(), "the runtime sent none") {
		t.Errorf("start: %v", err)
	}
	if s, err := r.State(d.Ctx()); err != nil || s.Status != types.Status_CREATED || s.Pid != 0 {
		t.Errorf("the container is %v, %v", s, err)
	}
	// What it left is ended (the harness would see it), and told of by nobody.
	stub.Set(nil)
	r.Start()
	counted(t, d, r, 2)
	r.Finish()
	d.WantStory(r, "create", "start", "exit 137", "delete 137")
}
