// Package checkpoint tests that containers go on where they were: through the shim,
// with real runc and criu.
package checkpoint
