package mount

import (
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/thread"
)

// inDir runs f in a thread whose working directory is dir, the process keeping its
// own. The thread shares everything else, descriptors too, and ends with f, since
// unshare(2) cannot be undone.
func inDir(dir string, f func() error) error {
	return thread.Last(func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return call("unshare working directory", err)
		}
		if err := unix.Chdir(dir); err != nil {
			return call("chdir "+dir, err)
		}
		return f()
	})
}
