// Package checkpoint tests that containers go on where they were: through the shim
// with real runc and criu, and under a real containerd.
//
// Criu is the machine's own if it works with its kernel, which criu says itself.
// Else it is the one of a newer Debian release, fetched into a cache and started
// with the libraries that belong to it, in front of everything else in PATH: that
// is where runc looks for it. A machine on which neither works fails these tests,
// and is told why.
package checkpoint
