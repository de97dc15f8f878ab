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
	workedIn, err := WorkedIn("/proc/" + strconv.Itoa(shim))
	if err != nil {
		return false // there is none, or it is about to end
	}
	theirs := filepath.Dir(workedIn)
	return theirs != ours && alike(ours, theirs) && alike(filepath.Dir(ours), filepath.Dir(theirs))
}

// WorkedIn is the directory that a process works in, as shims and runtimes do in a
// bundle, also when it is gone, as a pod's first container may be. process is the
// process's directory in procfs.
func WorkedIn(process string) (string, error) {
	cwd, err := os.Readlink(process + "/cwd")
	return strings.TrimSuffix(cwd, " (deleted)"), err
}

func alike(a, b string) bool { return filepath.Base(a) == filepath.Base(b) }
