package harness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-shim/holdfast/client"
)

// Patience is how long a test waits for what must happen. It is no measure of
// speed: a loaded machine may need a good part of it, and an emulated one more,
// which HOLDFAST_PATIENCE says.
var Patience = patience(os.Getenv("HOLDFAST_PATIENCE"))

func patience(given string) time.Duration {
	if d, err := time.ParseDuration(given); err == nil {
		return d
	}
	return 60 * time.Second
}

// Daemon plays containerd for one test.
type Daemon struct {
	*client.Launcher
	Events *client.Events
	// Dir holds everything of this daemon; its path is short, because sockets
	// are in it.
	Dir string
	// ShimLog is what shims wrote to their log fifos.
	ShimLog *Output

	t testing.TB

	mu         sync.Mutex // guards what is below
	containers []*Container
	cleaned    map[string]bool // containers whose shim was lost, by id
	sockets    map[string]bool // paths of the sockets that shims may have made
	count      int
}

// An Option changes a daemon before it starts.
type Option func(*Daemon)

// Dialect has the daemon speak to `start` in that dialect.
func Dialect(d client.Dialect) Option { return func(m *Daemon) { m.Launcher.Dialect = d } }

// ShimAt has the daemon use that binary instead of the shim under test.
func ShimAt(path string) Option { return func(m *Daemon) { m.Launcher.Shim = path } }

// Env adds to the shims' environment.
func Env(kv ...string) Option {
	return func(m *Daemon) { m.Launcher.Env = append(m.Launcher.Env, kv...) }
}

// DefaultSocketDir leaves the sockets' directory to the shim, in a dialect that
// could say otherwise.
func DefaultSocketDir() Option { return func(m *Daemon) { m.SocketDir = "" } }

// Hook has f called with every event before it is kept (client.WithHook).
func Hook(f func(context.Context, client.Event) error) Option {
	return func(m *Daemon) {
		path := filepath.Join(m.Dir, "events.sock")
		events, err := client.ListenEvents(path, client.WithHook(f))
		if err != nil {
			m.t.Fatal(err)
		}
		m.Events = events
	}
}

// New starts a daemon, which ends with the test. The test then fails if
// something of the daemon's is left over, if a shim reported a panic or a data
// race, or if events came in an order that the contract does not allow.
func New(t testing.TB, options ...Option) *Daemon {
	t.Helper()
	setUp(t)
	// Not t.TempDir: its path may be longer than a socket's may be.
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Dir: dir, ShimLog: &Output{}, t: t, cleaned: make(map[string]bool), sockets: make(map[string]bool)}
	d.Launcher = &client.Launcher{
		Dialect:       defaultDialect(t),
		Shim:          run.shim,
		Namespace:     filepath.Base(dir),
		Address:       filepath.Join(dir, "containerd.sock"),
		EventsAddress: filepath.Join(dir, "events.sock"),
		SocketDir:     filepath.Join(dir, "s"),
		State:         filepath.Join(dir, "state"),
		Root:          filepath.Join(dir, "root"),
		Fifos:         filepath.Join(dir, "fifo"),
		Version:       "2.3.0-harness",
		Debug:         true,
		Log:           d.ShimLog,
	}
	t.Cleanup(d.end)
	for _, o := range options {
		o(d)
	}
	if d.Events == nil {
		if d.Events, err = client.ListenEvents(d.EventsAddress); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Ctx is a context that ends with Patience.
func (d *Daemon) Ctx() context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), Patience,
		fmt.Errorf("it did not happen within %v", Patience))
	d.t.Cleanup(cancel)
	return ctx
}

// Down ends the daemon as a crash or a stop does: nobody takes events or reads
// output any more, and connections to shims are closed. The shims stay.
func (d *Daemon) Down() {
	d.t.Helper()
	if err := d.Events.Stop(); err != nil {
		d.t.Fatal(err)
	}
	for _, c := range d.all() {
		if c.ended() {
			continue
		}
		c.Shim.Close()
		if c.IO != nil {
			c.IO.Detach()
		}
	}
}

// Up starts a daemon again where Down ended one: it takes events, finds the
// shims by what is in their bundles and connects to them, and reads output
// where it was left.
func (d *Daemon) Up() {
	d.t.Helper()
	if err := d.Events.Start(); err != nil {
		d.t.Fatal(err)
	}
	for _, c := range d.all() {
		if c.ended() {
			continue
		}
		again, err := d.Open(d.Ctx(), c.ContainerID)
		if err != nil {
			d.t.Fatal(err)
		}
		c.Container = again
		s, err := c.State(d.Ctx())
		if err != nil {
			// A shim may be there without its container.
			continue
		}
		c.IO, err = client.OpenIO("", s.Stdout, s.Stderr,
			client.Streams{Stdout: c.Out, Stderr: c.Err, Terminal: s.Terminal})
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// all is every container of this daemon so far.
func (d *Daemon) all() []*Container {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.containers[:len(d.containers):len(d.containers)]
}

func (d *Daemon) add(c *Container) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.containers = append(d.containers, c)
	d.sockets[strings.TrimPrefix(c.Shim.Endpoint.Address, "unix://")] = true
}

// ExpectSocket remembers where a shim of that group puts its socket when it
// chooses the directory itself: a failed start must not leave it there either.
func (d *Daemon) ExpectSocket(group string) {
	sum := sha256.Sum256([]byte(filepath.Join(d.Address, d.Namespace, group)))
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sockets[filepath.Join("/run/containerd/s", hex.EncodeToString(sum[:]))] = true
}

// nextID names containers in the order of their making.
func (d *Daemon) nextID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	return fmt.Sprintf("c%d", d.count)
}

// end is the daemon's last hour: what must not be left is looked for, told, and
// removed.
func (d *Daemon) end() {
	t := d.t
	t.Helper()
	// Deliveries that a shim still has on its way belong to the test.
	if !t.Failed() {
		d.checkEnded()
	}
	if d.Events != nil {
		if err := d.Events.Stop(); err != nil {
			t.Error(err)
		}
		for _, problem := range disorder(onceEach(d.Events.All()), d.cleaned) {
			t.Errorf("events: %s", problem)
		}
	}
	CheckLog(t, d.ShimLog.String())
	if !t.Failed() {
		CheckLeaks(t, goneAfter, d.Leaks)
	}
	if t.Failed() {
		d.tell()
	}
	d.sweep()
}

// tell prints what helps to understand a failure.
func (d *Daemon) tell() {
	if d.Events != nil {
		for _, e := range d.Events.All() {
			d.t.Logf("event: %v", e)
		}
	}
	const tail = 8 << 10
	log := d.ShimLog.String()
	if len(log) > tail {
		log = "…" + log[len(log)-tail:]
	}
	d.t.Logf("shims' log:\n%s", log)
}
