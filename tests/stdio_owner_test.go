package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// reopen opens the outputs again by their names, as many a program of a user
// without rights does, and tells whose the pipe is.
const reopen = "echo out > /dev/stdout && echo again > /proc/self/fd/1 && echo err > /dev/stderr && stat -Lc %u:%g /proc/self/fd/1"

// IoUid and IoGid own the pipes. The runtime gives them to the process's user
// by itself, and leaves the group.
func TestAUserWithoutRightsOpensItsOutputsAgain(t *testing.T) {
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args:    []string{"sh", "-c", reopen},
		Options: &runcopts.Options{IoUid: 1000, IoGid: 2000},
		Edit:    func(s *client.Spec) { s.Process.User = client.SpecUser{UID: 1000, GID: 1000} },
	})
	c.Start()
	if got := c.Wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	c.Delete()
	if got := c.Out.String(); got != "out\nagain\n1000:2000\n" || c.Err.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", got, c.Err)
	}
}

// In a user namespace the runtime cannot give root's pipes away, and who is
// root there is nobody to them: without IoUid the open is refused.
func TestRootOfAUserNamespaceOpensItsOutputsAgain(t *testing.T) {
	const host = 100_000
	d := harness.New(t)
	dir := filepath.Join(d.Dir, "fifos")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var out, errs harness.Output
	io, err := client.NewIO(dir, "u", client.Streams{Stdout: &out, Stderr: &errs})
	if err != nil {
		t.Fatal(err)
	}
	// Whoever is root in there has to get to its rootfs, and to write to it.
	if _, err := d.Overlay("u"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(d.Dir, "layers", "u", "upper"), host, host); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(d.State, d.Namespace), 0o711); err != nil {
		t.Fatal(err)
	}
	for path := filepath.Join(d.State, d.Namespace); len(path) >= len(d.Dir); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	a := mustAsk(t, d, request{
		id: "u", stdout: io.Stdout, stderr: io.Stderr, args: []string{"sh", "-c", reopen},
		options: &runcopts.Options{IoUid: host, IoGid: host},
		config:  mapUsers(host),
		before:  func(b *client.Bundle) error { return os.Chmod(b.Path, 0o711) },
	})
	a.start()
	if got := a.wait(); got != 0 {
		t.Errorf("status %d", got)
	}
	a.end()
	if err := io.Wait(d.Ctx()); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "out\nagain\n0:0\n" || errs.String() != "err\n" {
		t.Errorf("stdout %q, stderr %q", got, &errs)
	}
	if err := io.Close(); err != nil {
		t.Fatal(err)
	}
}

// mapUsers puts a container into a user namespace whose ids begin at host.
func mapUsers(host int) func([]byte) ([]byte, error) {
	return func(config []byte) ([]byte, error) {
		var spec map[string]any
		if err := json.Unmarshal(config, &spec); err != nil {
			return nil, err
		}
		linux := spec["linux"].(map[string]any)
		ids := []map[string]int{{"containerID": 0, "hostID": host, "size": 65536}}
		linux["uidMappings"], linux["gidMappings"] = ids, ids
		linux["namespaces"] = append(linux["namespaces"].([]any), map[string]string{"type": "user"})
		return json.Marshal(spec)
	}
}
