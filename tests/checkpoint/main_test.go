package checkpoint

import (
	"os"
	"syscall"
	"testing"

	"github.com/holdfast-shim/holdfast/tests/criu"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// start starts a daemon whose shims find a criu that works. The test runs beside
// others: criu waits more than it works.
func start(t *testing.T, options ...harness.Option) *harness.Daemon {
	t.Helper()
	criu.Need(t)
	t.Parallel()
	return harness.New(t, options...)
}

func inodeOf(st os.FileInfo) uint64 { return st.Sys().(*syscall.Stat_t).Ino }
