// Command holdfast is the operator's tool: it runs containers through the shim
// without a containerd, speaking to it as a daemon does (package client).
//
// It owns what it makes for a container, all of it in one directory of its own,
// and removes it again on every way out. Of containers that a daemon runs it only
// asks their shims, beside the daemon. It never calls the OCI runtime.
//
// A file per subcommand; main.go only chooses among them.
package main
