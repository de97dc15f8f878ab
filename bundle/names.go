package bundle

// What containerd puts into a bundle.
const (
	ConfigFile    = "config.json"    // the OCI runtime spec
	Rootfs        = "rootfs"         // directory that the root filesystem is mounted on
	LogFifo       = "log"            // fifo that the shim's log goes to; containerd reads it
	WorkLink      = "work"           // link to the container's persistent directory
	BootstrapFile = "bootstrap.json" // what the shim answered to start, as containerd 1.7 and newer keep it
)

// What the shim and the OCI runtime put there.
const (
	AddressFile = "address"       // where the shim listens: containerd 1.6 reads it when it restarts
	OptionsFile = "options.json"  // containerd.runc.v1.Options as containerd's own shim writes them
	RuntimeFile = "runtime"       // the OCI runtime's binary, written for shims older than options.json
	InitPidFile = "init.pid"      // pid of the container's init, from the OCI runtime
	ExitFile    = "exit.json"     // an ExitRecord: how init ended
	RuntimeLog  = "log.json"      // the OCI runtime's log
	DumpLog     = "criu-dump.log" // criu's log of a checkpoint that failed
)

// ExecPidFile is the name of the file that the OCI runtime writes the pid of
// an exec into. It differs from every other name here for every valid id.
func ExecPidFile(execID string) string {
	if execID+".pid" == InitPidFile {
		// "init" is a legal exec id. A name that does not end in ".pid" cannot
		// meet that of another exec.
		return "init.pid.exec"
	}
	return execID + ".pid"
}
