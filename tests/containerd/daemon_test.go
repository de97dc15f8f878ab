package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

// daemon is a containerd for one test.
type daemon struct {
	t         *testing.T
	user      user
	dir       string // holds everything of it; its path is short, because sockets are in it
	release   release
	namespace string
	scope     string // names what is this daemon's alone: the parent of its containers' cgroups
	rootfs    string // busybox, shared by all tests; nobody may write to it
	shim      string // the binary under test, free of links
	env       []string
	events    *events

	containerd  *server // nil while it is down
	interrupted bool    // containerd was ended, whatever it was doing

	mu       sync.Mutex // guards what is below
	groups   map[string]bool
	sessions []*session
	proved   bool // a shim of this daemon was seen to run the binary under test
}

// patience is how long a test waits for what must happen. It is no measure of
// speed.
var patience = harness.Patience

// start starts a containerd, which ends with the test. The test then fails if
// something of it is left over, if a shim reported a panic or a data race, or if
// events came in an order that the contract does not allow. What is in env is
// added to containerd's environment, which is also its shims'.
func start(t *testing.T, env ...string) *daemon {
	t.Helper()
	return startFor(t, plain, env...)
}

// user is who a daemon is for, besides ctr.
type user int

const (
	plain user = iota
	kubernetes
	docker
)

// startFor is start for another user than ctr alone.
func startFor(t *testing.T, u user, env ...string) *daemon {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("containers need root, and these tests pass with it or not at all")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Fatalf("runc is missing: install Debian's package runc (%v)", err)
	}
	all, err := releases()
	if err != nil {
		t.Fatal(err)
	}
	shim, err := filepath.EvalSymlinks(harness.Shim(t))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hfc")
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{
		t:         t,
		user:      u,
		dir:       dir,
		release:   all[0],
		namespace: filepath.Base(dir),
		scope:     filepath.Base(dir),
		rootfs:    harness.Rootfs(t),
		shim:      shim,
		env:       env,
		events:    newEvents(),
		groups:    make(map[string]bool),
	}
	if u == kubernetes {
		d.namespace = "k8s.io" // CRI knows no other
	}
	live.add(d)
	t.Cleanup(d.end)
	if err := d.layOut(); err != nil {
		t.Fatal(err)
	}
	d.up()
	return d
}

// layOut makes the configuration and the directory in which containerd finds
// the shim.
func (d *daemon) layOut() error {
	for _, dir := range []string{"bin", "tmp"} {
		if err := os.Mkdir(filepath.Join(d.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"containerd-shim-runc-v2", harness.ShimName} {
		if err := os.Symlink(d.shim, filepath.Join(d.dir, "bin", name)); err != nil {
			return err
		}
	}
	if d.user == kubernetes {
		if err := d.layOutCRI(); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(d.dir, "config.toml"), []byte(d.config()), 0o600)
}

// config is in the form that every containerd reads.
func (d *daemon) config() string {
	// The snapshotters that are off need what this machine may not have.
	off := []string{
		"io.containerd.snapshotter.v1.aufs",
		"io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.zfs",
	}
	more := ""
	if d.user == kubernetes {
		more = d.configCRI()
	} else {
		off = append(off, "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime")
	}
	return fmt.Sprintf(`version = 2
root = %q
state = %q
disabled_plugins = ["%s"]
[grpc]
address = %q
[debug]
level = "trace"
`, filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), strings.Join(off, `", "`), d.socket()) + more
}

func (d *daemon) socket() string  { return filepath.Join(d.dir, "c.sock") }
func (d *daemon) logPath() string { return filepath.Join(d.dir, "containerd.log") }

// bundle is the container's, where containerd makes it.
func (d *daemon) bundle(id string) string {
	return filepath.Join(d.dir, "state", "io.containerd.runtime.v2.task", d.namespace, id)
}

// up starts containerd, for the first time or again, and waits until it serves
// and its events are listened to.
func (d *daemon) up() {
	d.t.Helper()
	cmd := exec.Command(d.release.containerd, "-c", filepath.Join(d.dir, "config.toml"))
	cmd.Env = append(os.Environ(),
		"PATH="+filepath.Join(d.dir, "bin")+":"+os.Getenv("PATH"),
		"TMPDIR="+filepath.Join(d.dir, "tmp"))
	cmd.Env = append(cmd.Env, d.env...)
	s, err := live.serve(cmd, d.logPath())
	if err != nil {
		d.t.Fatal(err)
	}
	d.containerd = s
	d.eventually("containerd serves", func() error {
		select {
		case <-s.ended:
			d.t.Fatal("containerd has ended while it was to come up")
		default:
		}
		conn, err := net.Dial("unix", d.socket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", s.process.Pid)); err != nil || exe != d.release.containerd {
		d.t.Fatalf("the daemon runs %q (%v), not %s", exe, err, d.release.containerd)
	}
	d.listen()
}

// kill ends containerd as a crash does; its shims stay.
func (d *daemon) kill() { d.down(syscall.SIGKILL) }

// down ends containerd by a signal and waits until it is gone.
func (d *daemon) down(sig syscall.Signal) {
	d.t.Helper()
	if d.containerd == nil {
		return
	}
	if err := d.containerd.end(sig); err != nil {
		d.t.Errorf("containerd: %v", err)
	}
	d.containerd, d.interrupted = nil, true
	// Without containerd there are no events to listen for.
	d.events.stop()
}

// pid is containerd's, 0 while it is down.
func (d *daemon) pid() int {
	if d.containerd == nil {
		return 0
	}
	return d.containerd.process.Pid
}

// log is what containerd and, through their log fifos, the shims have written.
func (d *daemon) log() string {
	b, err := os.ReadFile(d.logPath())
	if err != nil {
		d.t.Error(err)
	}
	return string(b)
}

// end is the daemon's last hour: what must not be left is looked for, told, and
// removed.
func (d *daemon) end() {
	t := d.t
	t.Helper()
	// A failed test leaves containers, and what they leave is no news.
	if !t.Failed() {
		d.checkEnded()
		d.checkProof()
		d.checkLeaks()
		for _, problem := range d.events.disorder() {
			t.Errorf("events: %s", problem)
		}
	}
	d.endSessions()
	d.down(syscall.SIGTERM)
	harness.CheckLog(t, d.log())
	if t.Failed() {
		d.tell()
	}
	if err := d.sweep(); err != nil {
		t.Error(err)
	}
	live.remove(d)
}

// checkEnded fails the test when it forgot a container, which is the test's
// mistake.
func (d *daemon) checkEnded() {
	d.t.Helper()
	for _, list := range [][]string{{"task", "ls", "-q"}, {"container", "ls", "-q"}} {
		if left := strings.Fields(d.must(list...)); len(left) > 0 {
			d.t.Errorf("the test ended with %q in ctr %s", left, strings.Join(list, " "))
		}
	}
}

// tell prints what helps to understand a failure.
func (d *daemon) tell() {
	for _, line := range d.events.all() {
		d.t.Log("event: ", line)
	}
	const tail = 12 << 10
	var log strings.Builder
	for line := range strings.Lines(d.log()) {
		if !strings.Contains(line, "loading plugin") {
			log.WriteString(line)
		}
	}
	text := log.String()
	if len(text) > tail {
		text = "…" + text[len(text)-tail:]
	}
	d.t.Logf("containerd's and the shims' log:\n%s", text)
}

var errNotYet = errors.New("not yet")

// eventually calls f again and again until it returns nil, and fails the test
// when that does not come to pass. It is for what no event tells.
func (d *daemon) eventually(what string, f func() error) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := eventually(ctx, f); err != nil {
		d.t.Fatalf("%s: not within %v: %v", what, patience, err)
	}
}

// eventually returns nil as soon as f does, or f's last error when ctx ends.
func eventually(ctx context.Context, f func() error) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}
