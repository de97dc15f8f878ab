package tests

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestEveryGenerationOfDaemonsRunsAContainer(t *testing.T) {
	for _, dialect := range client.Dialects() {
		t.Run(dialect.String(), func(t *testing.T) {
			d := harness.New(t, harness.Dialect(dialect))
			c := d.CreateWant(harness.Want{
				Args: []string{"sh", "-c", "exit 2"}, Options: &runcopts.Options{NoNewKeyring: true},
			})
			want := map[client.Dialect]int{
				client.DialectAddress: 2, client.DialectJSON: 2, client.DialectBootstrap: 3,
			}[dialect]
			if c.Shim.Endpoint.Version != want {
				t.Errorf("the shim answered version %d, want %d", c.Shim.Endpoint.Version, want)
			}
			// The older daemons find the shim again by this file alone.
			if dialect != client.DialectBootstrap {
				if got := readFile(t, filepath.Join(c.Bundle.Path, "address")); got != c.Shim.Endpoint.Address {
					t.Errorf("file address holds %q, the shim answered %q", got, c.Shim.Endpoint.Address)
				}
			}
			c.Start()
			if got := c.Wait(); got != 2 {
				t.Errorf("status %d", got)
			}
			c.Delete()
			d.WantStory(c, "create", "start", "exit 2", "delete 2")
		})
	}
}

// containerd's own tests dial this name.
func TestTheSocketsNameIsTheHashOfWhoseItIs(t *testing.T) {
	for _, dialect := range client.Dialects() {
		t.Run(dialect.String(), func(t *testing.T) {
			d := harness.New(t, harness.Dialect(dialect))
			dir := "/run/containerd/s"
			if dialect == client.DialectBootstrap {
				dir = d.SocketDir
			}
			c := d.Create("true")
			sum := sha256.Sum256([]byte(filepath.Join(d.Address, d.Namespace, c.ContainerID)))
			if want := "unix://" + filepath.Join(dir, hex.EncodeToString(sum[:])); c.Shim.Endpoint.Address != want {
				t.Errorf("address %s, want %s", c.Shim.Endpoint.Address, want)
			}
			c.Delete()
		})
	}
}

func TestANewDaemonWithoutASocketDirLeavesItToTheShim(t *testing.T) {
	d := harness.New(t, harness.DefaultSocketDir())
	c := d.Create("true")
	if !strings.HasPrefix(c.Shim.Endpoint.Address, "unix:///run/containerd/s/") {
		t.Errorf("address %s", c.Shim.Endpoint.Address)
	}
	c.Delete()
}

func TestTwoStartsOfOneContainerMeetTheSameShim(t *testing.T) {
	d := harness.New(t)
	config, err := client.DefaultSpec(d.Namespace, "twice", "true").JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.NewBundle("twice", config)
	if err != nil {
		t.Fatal(err)
	}
	// A daemon does this when its first start seemed to fail. Either both meet one
	// shim, or the second is refused: there are never two.
	type answer struct {
		shim *client.Shim
		err  error
	}
	answers := make(chan answer, 2)
	for range 2 {
		go func() {
			s, err := d.Start(d.Ctx(), b, nil)
			answers <- answer{s, err}
		}()
	}
	pids := make(map[int]bool)
	for range 2 {
		a := <-answers
		if a.err != nil {
			t.Logf("refused: %v", a.err)
			continue
		}
		pid, err := a.shim.Pid(d.Ctx())
		if err != nil {
			t.Error(err)
		}
		pids[pid] = true
		defer a.shim.Close()
		defer a.shim.Shutdown(d.Ctx())
	}
	if len(pids) != 1 {
		t.Errorf("shims %v", pids)
	}
	if err := b.Delete(); err != nil {
		t.Error(err)
	}
}

func TestADeadSocketIsReplaced(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	address := c.Shim.Endpoint.Address
	path := strings.TrimPrefix(address, "unix://")
	c.KillShim()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("a killed shim's socket: %v", err)
	}
	id := c.ContainerID
	c.Cleanup()
	again := d.CreateWant(harness.Want{ID: id, Args: []string{"true"}})
	if again.Shim.Endpoint.Address != address {
		t.Errorf("address %s, before %s", again.Shim.Endpoint.Address, address)
	}
	again.Delete()
}

func TestADeadSocketLeftByNobodyIsReplaced(t *testing.T) {
	d := harness.New(t)
	sum := sha256.Sum256([]byte(filepath.Join(d.Address, d.Namespace, "c1")))
	if err := os.MkdirAll(d.SocketDir, 0o700); err != nil {
		t.Fatal(err)
	}
	events, err := client.ListenEvents(filepath.Join(d.SocketDir, hex.EncodeToString(sum[:])))
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Crash(); err != nil {
		t.Fatal(err)
	}
	c := d.Create("true")
	c.Delete()
}

func TestAStartThatFailsLeavesNothing(t *testing.T) {
	for _, config := range []string{"{", "[]", "\x00"} {
		t.Run(config, func(t *testing.T) {
			d := harness.New(t)
			b, err := d.NewBundle("bad", []byte(config))
			if err != nil {
				t.Fatal(err)
			}
			if s, err := d.Start(d.Ctx(), b, nil); err == nil {
				s.Shutdown(d.Ctx())
				s.Close()
				t.Error("started")
			}
			if err := b.Delete(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadFlagsAreToldInOneLine(t *testing.T) {
	shim := harness.Shim(t)
	for _, args := range [][]string{
		{"start"},
		{"-namespace", "n", "start"},
		{"-namespace", "n", "-id", "../x", "start"},
		{"-namespace", "n", "-id", "x", "dance"},
		{"-no-such-flag"},
	} {
		cmd := exec.Command(shim, args...)
		cmd.Dir = t.TempDir()
		out, err := cmd.CombinedOutput()
		if err == nil {
			t.Errorf("%q: no error, %q", args, out)
		}
		if n := bytes.Count(bytes.TrimSpace(out), []byte("\n")); n > 0 || len(out) == 0 {
			t.Errorf("%q: %q", args, out)
		}
	}
}

func TestInfoTellsTheShimAndTheRuntimesFeatures(t *testing.T) {
	d := harness.New(t)
	info, err := d.Info(d.Ctx(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Name == "" || info.Version == nil || info.Version.Version == "" {
		t.Errorf("info: %+v", info)
	}
	info, err = d.Info(d.Ctx(), &runcopts.Options{BinaryName: "runc"})
	if err != nil {
		t.Fatal(err)
	}
	// runc 1.1 knows `features`; an older one leaves this empty.
	if info.Features == nil || !bytes.Contains(info.Features.Value, []byte("ociVersionMin")) {
		t.Errorf("features: %v", info.Features)
	}
	if info.Options == nil {
		t.Error("no options")
	}
}

func TestInfoNamesAMissingRuntime(t *testing.T) {
	d := harness.New(t)
	_, err := d.Info(d.Ctx(), &runcopts.Options{BinaryName: "no-such-runtime"})
	if err == nil || !strings.Contains(err.Error(), "no-such-runtime") {
		t.Errorf("error: %v", err)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	d := harness.New(t)
	text, err := d.ShimVersion(d.Ctx())
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(text) == "" {
		t.Error("nothing printed")
	}
}
