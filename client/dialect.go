package client

import "fmt"

// Dialect is how a daemon and a shim's `start` talk; each generation of
// containerd has its own.
type Dialect int

const (
	// DialectAddress is containerd 1.6's and older: options on stdin, the bare
	// address on stdout (runtime/v2/binary.go in v1.6.20).
	DialectAddress Dialect = 1
	// DialectJSON is that of containerd 1.7 to 2.2: options on stdin,
	// MAX_SHIM_VERSION=2 in the environment, JSON on stdout
	// (runtime/v2/shim.go in v1.7.20, pkg/shim/util.go in v2.2.0).
	DialectJSON Dialect = 2
	// DialectBootstrap is containerd 2.3's and newer: BootstrapParams on stdin,
	// BootstrapResult on stdout (core/runtime/v2/binary.go in v2.3.0). It
	// understands the answers of the older two as well.
	DialectBootstrap Dialect = 3
)

// Dialects are all there are, the oldest first.
func Dialects() []Dialect { return []Dialect{DialectAddress, DialectJSON, DialectBootstrap} }

func (d Dialect) String() string {
	switch d {
	case DialectAddress:
		return "address"
	case DialectJSON:
		return "json"
	case DialectBootstrap:
		return "bootstrap"
	}
	return fmt.Sprintf("dialect(%d)", int(d))
}
