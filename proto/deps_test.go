package proto_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a shim links for its messages is ttrpc, which it links anyway, and nothing
// else that is not ours or Go's.
func TestMessagesLinkNothingBeyondTTRPC(t *testing.T) {
	const ours = "github.com/holdfast-shim/holdfast/proto"
	ttrpc := deps(t, "github.com/containerd/ttrpc")
	for _, pkg := range []string{"", "/task", "/events", "/types", "/runcopts", "/runtimeopts", "/bootstrap", "/cgroups1", "/cgroups2", "/wkt"} {
		for _, dep := range deps(t, ours+pkg) {
			if strings.HasPrefix(dep, ours) || slices.Contains(ttrpc, dep) {
				continue
			}
			// Go's own packages have no dot in their first element.
			if first, _, _ := strings.Cut(dep, "/"); strings.Contains(first, ".") {
				t.Errorf("proto%s links %s", pkg, dep)
			}
		}
	}
}

// Messages alone link not even protobuf.
func TestMessagesThemselvesLinkNoRuntime(t *testing.T) {
	for _, pkg := range []string{"types", "runcopts", "runtimeopts", "bootstrap", "cgroups1", "cgroups2", "wkt"} {
		for _, dep := range deps(t, "github.com/holdfast-shim/holdfast/proto/"+pkg) {
			if strings.Contains(dep, "protobuf") || dep == "fmt" {
				t.Errorf("proto/%s links %s", pkg, dep)
			}
		}
	}
}

func deps(t *testing.T, pkg string) []string {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return strings.Fields(string(out))
}
