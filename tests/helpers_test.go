package tests

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// execRaw is Exec with a spec that need not be one.
func execRaw(d *harness.Daemon, c *harness.Container, id, url string, spec []byte) error {
	_, err := c.Shim.Task.Exec(d.Ctx(), &task.ExecProcessRequest{
		Id: c.ContainerID, ExecId: id, Spec: &wkt.Any{TypeUrl: url, Value: spec},
	})
	return err
}

func deleteOf(c *harness.Container) *task.DeleteRequest {
	return &task.DeleteRequest{Id: c.ContainerID}
}

// resources is what Update takes.
func resources(t *testing.T, r client.SpecResources) *wkt.Any {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return &wkt.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: text}
}
