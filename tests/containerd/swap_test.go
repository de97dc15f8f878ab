package containerd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

// dropIn runs what `make install` and `make uninstall` run, on the directory that
// containerd's PATH begins with.
func (d *daemon) dropIn(args ...string) string {
	d.t.Helper()
	root, err := harness.ModuleRoot()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "cmd/shim/drop-in"), append(args, d.path("bin"))...)
	cmd.Env = append(os.Environ(), "PATH="+d.path("bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("drop-in %q: %v: %s", args, err, out)
	}
	return string(out)
}

// As on a node that has run containers for months, with containerd's own shim in
// the second place of PATH.
func TestTheDropInIsSwappedInAndOutUnderContainersThatRun(t *testing.T) {
	d := start(t)
	d.down(syscall.SIGTERM)
	for _, name := range []string{"containerd-shim-runc-v2", harness.ShimName} {
		if err := os.Remove(filepath.Join(d.path("bin"), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(d.path("usr"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(d.release.shim, filepath.Join(d.path("usr"), "containerd-shim-runc-v2")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", d.path("usr")+":"+os.Getenv("PATH"))
	d.up()
	run := func(id string) { t.Helper(); d.must(d.runArgs([]string{"-d"}, id, "sleep", "1000")...) }
	works := func(id, when string) {
		t.Helper()
		if s := d.exec(id, when, "sh", "-c", "echo in; exit 3"); s.code() != 3 || s.Out.String() != "in\n" {
			t.Errorf("%s: exec in %s: %d, %q, %s", when, id, s.code(), s.Out, s.Err)
		}
	}

	run("before")
	before := d.shimAt("before", d.release.shim)
	built := d.shim
	d.shim = filepath.Join(d.path("bin"), harness.ShimName)
	d.dropIn("install", built, "/bin/true")
	// It remembers where it found the shim, as the README says.
	run("remembered")
	d.shimAt("remembered", d.release.shim)
	d.down(syscall.SIGTERM)
	d.up()
	run("ours")
	run("lost")
	ours := d.shimOf("ours")
	works("before", "swapped-in")
	works("ours", "swapped-in")
	d.dropIn("install", built, "/bin/true") // an upgrade, under way
	works("ours", "upgraded")

	if said := d.dropIn("remove"); !strings.Contains(said, "2 shims run it") {
		t.Errorf("removing said %q", said)
	}
	// At once, as what it remembers leads there.
	run("after")
	d.shimAt("after", d.release.shim)
	works("before", "swapped-out")
	address, err := os.ReadFile(filepath.Join(d.bundle("lost"), "address"))
	if err != nil {
		t.Fatal(err)
	}
	d.killShim("lost")
	d.event("lost", "delete 137")
	// The one thing that containerd's own `delete` leaves of any shim.
	if err := os.Remove(strings.TrimPrefix(string(address), "unix://")); err != nil {
		t.Error(err)
	}
	d.must("container", "rm", "lost")
	d.down(syscall.SIGTERM)
	d.up()
	works("ours", "swapped-out")
	if got := d.shimAt("before", d.release.shim); got != before {
		t.Errorf("the shim of what ran before was %d and is %d", before, got)
	}
	if got := d.shimOf("ours"); got != ours {
		t.Errorf("our shim was %d and is %d", ours, got)
	}
	for _, id := range []string{"before", "remembered", "ours", "after"} {
		d.finish(id)
		d.event(id, "exit 137")
	}
	d.dropIn("remove")
	if left := harness.Names(d.path("bin")); len(left) != 1 || left[0] != "containerd-shim-runc-v2" {
		t.Errorf("removing left %q", left)
	}
}
