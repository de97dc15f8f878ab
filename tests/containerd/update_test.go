package containerd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestUpdateChangesTheLimitsOfARunningContainer(t *testing.T) {
	d := start(t)
	d.runWith([]string{"--memory-limit", "67108864"}, "c", "sleep", "1000")
	api := tasks.NewTasksClient(d.dial())
	d.wantLimit("c", "67108864")
	d.update(api, "c", map[string]any{"memory": map[string]any{"limit": 33554432}, "pids": map[string]any{"limit": 77}})
	d.wantLimit("c", "33554432")
	if got := d.limit("c", "pids", "pids.max", "pids.max"); got != "77" {
		t.Errorf("limit of pids %q, want 77", got)
	}
	if code := d.exec("c", "x", "true").code(); code != 0 {
		t.Errorf("exec after the update: exit code %d", code)
	}
	// What is no resource is refused, and changes nothing.
	if _, err := api.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: "c", Resources: resources(t, "not resources")}); err == nil {
		t.Error("an update to nonsense was accepted")
	}
	d.wantLimit("c", "33554432")
	d.finish("c")
	d.story("c", "create", "start", "exec-added x", "exec-started x", "exit x 0", "exit 137", "delete 137")
}

func (d *daemon) update(api tasks.TasksClient, id string, limits map[string]any) {
	d.t.Helper()
	if _, err := api.Update(d.ctx(), &tasks.UpdateTaskRequest{ContainerID: id, Resources: resources(d.t, limits)}); err != nil {
		d.t.Fatalf("update %s to %v: %v", id, limits, err)
	}
}

// resources are packed as clients do.
func resources(t *testing.T, v any) *anypb.Any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", Value: text}
}

func (d *daemon) wantLimit(id, want string) {
	d.t.Helper()
	if got := d.limit(id, "memory", "memory.limit_in_bytes", "memory.max"); got != want {
		d.t.Errorf("limit of memory %q, want %s", got, want)
	}
}

// limit reads a file of the container's cgroup, by its name on version 1 or 2.
func (d *daemon) limit(id, controller, v1, v2 string) string {
	d.t.Helper()
	group := d.cgroup(controller, id)
	b, err := os.ReadFile(filepath.Join(group, v1))
	if os.IsNotExist(err) {
		b, err = os.ReadFile(filepath.Join(group, v2))
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}
