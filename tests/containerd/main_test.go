package containerd

import (
	"testing"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
