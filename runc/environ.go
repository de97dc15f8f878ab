package runc

import (
	"slices"
	"strings"
)

// ProcsEnv is the variable of the shim's environment that holds the GOMAXPROCS
// its daemon gave it. The shim has one of its own; the runtime gets this.
const ProcsEnv = "HOLDFAST_RUNC_GOMAXPROCS"

// environ is what the runtime gets of the shim's environment: all of it but
// what speaks to the shim alone. PATH must stay, because the runtime looks up
// criu, newuidmap and hooks by it.
//
// GOMAXPROCS is the daemon's: runc hands it on to the Go process it starts
// inside the container's cgroup, whose threads count against the container's own
// pids limit (runc commit 53fddb540).
func environ(shim []string) []string {
	out := make([]string, 0, len(shim))
	given := ""
	for _, kv := range shim {
		key, value, _ := strings.Cut(kv, "=")
		if key == ProcsEnv {
			given = value
		}
		if !shimsOwn(key) {
			out = append(out, kv)
		}
	}
	if given == "" {
		return out
	}
	out = slices.DeleteFunc(out, func(kv string) bool { return strings.HasPrefix(kv, "GOMAXPROCS=") })
	return append(out, "GOMAXPROCS="+given)
}

// shimsOwn reports whether a variable is the shim's business. The runtime
// itself acts on the first two lines: it would wait for READY=1 from the
// container, and pass descriptors 3 and up into it. The rest would reach hooks,
// which runc 1.1 runs with its own environment.
func shimsOwn(key string) bool {
	switch key {
	case "NOTIFY_SOCKET",
		"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID",
		"TTRPC_ADDRESS", "GRPC_ADDRESS", "NAMESPACE", "MAX_SHIM_VERSION", "SCHED_CORE":
		return true
	}
	return strings.HasPrefix(key, "HOLDFAST_") || strings.HasPrefix(key, "OTEL_")
}
