package bootstrap

import (
	"strconv"
	"strings"

	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/runc"
)

// LogLevelEnv tells the serving shim how much to log: a number on the scale of
// BootstrapParams' log_level (info 0, trace -8 … panic 12). It is set when
// containerd asked for something other than info and nobody set it before.
const LogLevelEnv = "HOLDFAST_LOG_LEVEL"

// environ is an environment as "NAME=value" strings.
type environ []string

// get returns the value of name; of the last one when it is there twice, as
// os/exec takes it.
func (e environ) get(name string) string {
	for i := len(e) - 1; i >= 0; i-- {
		if k, v, ok := strings.Cut(e[i], "="); ok && k == name {
			return v
		}
	}
	return ""
}

// forServing makes the environment of the shim. It passes on what it was
// given: a shim's environment is containerd's to configure (PATH, proxies,
// SCHED_CORE, GODEBUG, OTEL_*). It leaves out what was meant for one process
// only, and says again what the command line or the bootstrap parameters
// know better.
func (e environ) forServing(r request, namespace string) []string {
	out := make([]string, 0, len(e)+6)
	for _, kv := range e {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "TTRPC_ADDRESS", "GRPC_ADDRESS", "NAMESPACE":
			// set below
		case "MAX_SHIM_VERSION":
			// start's alone
		case "GOMAXPROCS", runc.ProcsEnv:
			// set below
		case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES":
			// systemd's words with containerd. runc would mount the first into
			// containers.
		default:
			out = append(out, kv)
		}
	}
	out = append(out, "NAMESPACE="+namespace)
	if r.ttrpcAddress != "" {
		out = append(out, "TTRPC_ADDRESS="+r.ttrpcAddress)
	}
	if r.grpcAddress != "" {
		out = append(out, "GRPC_ADDRESS="+r.grpcAddress)
	}
	// The shim waits for the kernel most of its life: with one processor it has a
	// quarter less memory than with two (docs/memory.md) and is no slower. What
	// containerd gives its shims is for the runtime then.
	procs := e.get("GOMAXPROCS")
	if procs == "" {
		procs = "2" // containerd's own choice
	}
	out = append(out, "GOMAXPROCS=1", runc.ProcsEnv+"="+procs)
	if r.level != bootapi.LogLevel_LOG_LEVEL_INFO && e.get(LogLevelEnv) == "" {
		out = append(out, LogLevelEnv+"="+strconv.Itoa(int(r.level)))
	}
	return out
}
