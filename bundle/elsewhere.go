package bundle

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Elsewhere reports whether a process is the shim of another containerd: one whose bundles
// are not beside dir, and which has the same namespace. Its containers and those of this
// one have the same cgroups, and, unless they were told otherwise, the same state of the
// OCI runtime, if they have the same ids.
//
// A shim is the parent of its containers and works in a bundle,
// <state>/<namespace>/<id>. So may whatever runs in a container: a container with a
// daemon in it has shims of its own. Who is in a container's cgroup is not to be asked for.
func Elsewhere(dir string, shim int) bool {
	ours, err := filepath.EvalSymlinks(filepath.Dir(dir)) // the bundle itself may be gone
	if err != nil {
		return false
	}
	cwd, err := os.Readlink("/proc/" + strconv.Itoa(shim) + "/cwd")
	if err != nil {
		return false // there is none, or it is about to end
	}
	cwd = strings.TrimSuffix(cwd, " (deleted)") // a pod's first container may be gone
	theirs := filepath.Dir(cwd)
	return theirs != ours && alike(ours, theirs) && alike(filepath.Dir(ours), filepath.Dir(theirs))
}

func alike(a, b string) bool { return filepath.Base(a) == filepath.Base(b) }
