package runc

import "strings"

// verbSet is a set of verbs, one bit each.
type verbSet uint16

const (
	anyVerb verbSet = 1<<verbCount - 1

	// onContainer are the verbs that need a container to be there.
	onContainer = anyVerb &^ (1<<verbCreate | 1<<verbRestore | 1<<verbFeatures)

	// withInput are the verbs that read something of the caller's.
	withInput = 1<<verbCreate | 1<<verbRestore | 1<<verbExec | 1<<verbUpdate

	checkpointing = 1<<verbCheckpoint | 1<<verbRestore
)

// texts is the one place where the words of OCI runtimes get a meaning: a
// message of one of the verbs that begins with head, has mid in it and ends in
// tail means err. Empty parts match anything; the first row that matches wins.
//
// Rows hold on to a message's ends and to the verb where they can, because
// what is in between is often the user's own (a path, an argument, a hook's
// output). The messages that the rows were made from are in testdata/texts.
var texts = [...]struct {
	verbs           verbSet
	head, mid, tail string
	err             sentinel
}{
	// runc: libcontainer/error.go
	{onContainer, "container does not exist", "", "", ErrNotFound},
	{1<<verbCreate | 1<<verbRestore, "container with given ID already exists", "", "", ErrExists},
	{anyVerb, "invalid container ID format", "", "", ErrInvalid},
	{anyVerb, "container id cannot be empty", "", "", ErrInvalid},
	{onContainer, "container paused", "", "", ErrPaused},
	{onContainer, "container not paused", "", "", ErrNotPaused},
	{onContainer, "container still running", "", "", ErrRunning},
	{onContainer, "container not running", "", "", ErrNotRunning},

	// runc: the verbs' own
	{1 << verbStart, "cannot start an already running container", "", "", ErrRunning},
	{1 << verbStart, "cannot start a container that has stopped", "", "", ErrNotRunning},
	{1 << verbStart, "cannot start a container in the paused state", "", "", ErrPaused},
	{1 << verbStart, "container process is already dead", "", "", ErrNotRunning},
	{1 << verbExec, "cannot exec in a stopped container", "", "", ErrNotRunning},
	{1 << verbExec, "cannot exec in a paused container", "", "", ErrPaused},
	{1 << verbExec, "unable to start container process: namespace path: lstat /proc/", "", ": no such file or directory", ErrNotRunning},
	{1 << verbDelete, "cannot delete container ", "", " that is not stopped: paused", ErrPaused},
	{1 << verbDelete, "cannot delete container ", " that is not stopped: ", "", ErrRunning},
	{1 << verbDelete, "container init still running", "", "", ErrRunning},
	{1 << verbKill, "unable to signal init: ", "", "process already finished", ErrNotRunning},
	{1 << verbKill, "unable to signal init: ", "", "no such process", ErrNotRunning},
	{1 << verbKill, "unable to kill all processes: ", "", "container not running", ErrNotRunning},
	{1 << verbKill, "unable to signal init: ", "", "invalid argument", ErrInvalid},
	{1 << verbCheckpoint, "Container cannot be checkpointed in ", "", " state", ErrNotRunning},

	// runc: what it was given
	{1 << verbCreate, "JSON specification file ", "", " not found", ErrInvalid},
	{withInput, "invalid character ", "", "", ErrInvalid},
	{withInput, "json: cannot unmarshal ", "", "", ErrInvalid},
	{withInput, "unexpected EOF", "", "", ErrInvalid},
	{withInput, "EOF", "", "", ErrInvalid},
	{withInput, "process property must not be empty", "", "", ErrInvalid},
	{withInput, "Cwd property must not be empty", "", "", ErrInvalid},
	{withInput, "Cwd must be an absolute path", "", "", ErrInvalid},
	{withInput, "args must not be empty", "", "", ErrInvalid},
	{withInput, "invalid rootfs: ", "", "", ErrInvalid},
	{1 << verbKill, "unknown signal ", "", "", ErrInvalid},

	{checkpointing, "--parent-path must be relative", "", "", ErrInvalid},
	{checkpointing, "invalid --parent-path: ", "", "", ErrInvalid},
	{checkpointing, "Invalid manage cgroups mode", "", "", ErrInvalid},
	{checkpointing, "namespace \"", "", "\" is not supported", ErrInvalid},

	// runc: what it cannot do
	{anyVerb, "No help topic for ", "", "", ErrUnsupported},
	{anyVerb, "flag provided but not defined: ", "", "", ErrUnsupported},
	{anyVerb, "CRIU version check failed: exec: ", "", ": executable file not found in $PATH", ErrUnsupported},

	// crun
	{onContainer, "error opening file `", "", "/status`: No such file or directory", ErrNotFound},
	{onContainer, "open `", "", "/status`: No such file or directory", ErrNotFound},
	{onContainer, "container `", "` does not exist: ", "", ErrNotFound},
	{1 << verbDelete, "cannot open directory ", "", ": No such file or directory", ErrNotFound},
	{1<<verbCreate | 1<<verbRestore, "container `", "", "` already exists", ErrExists},
	// With the words of whatever errno happens to hold behind them, sometimes.
	{onContainer, "container `", "` is not running", "", ErrNotRunning},
	{onContainer, "the container `", "` is not running", "", ErrNotRunning},
	{onContainer, "container process not found, the pid was reused", "", "", ErrNotRunning},
	{1 << verbKill, "", "", ": No such process", ErrNotRunning},
	{1 << verbKill, "send signal to pidfd: Invalid argument", "", "", ErrInvalid},
	{1 << verbExec, "the container `", "", "` is paused", ErrPaused},
	{1 << verbStart, "cannot open `", "", "/exec.fifo`: No such file or directory", ErrRunning},
	{1 << verbDelete, "the container `", "", "` is not in `created` or `stopped` state", ErrRunning},
	{1 << verbCreate, "error loading config.json", "", "", ErrInvalid},
	{1 << verbCreate, "load `", "", "", ErrInvalid},
	{1 << verbCreate, "invalid config file, ", "", "", ErrInvalid},
	{withInput, "cannot parse the data: `", "", "", ErrInvalid},
	{1 << verbExec, "cannot parse process file: ", "", "", ErrInvalid},
	{anyVerb, "empty container ID", "", "", ErrInvalid},
	{anyVerb, "invalid container ID `", "", "", ErrInvalid},
	{anyVerb, "invalid character `", "` in the container ID `", "", ErrInvalid},
	{anyVerb, "unknown command ", "", "", ErrUnsupported},
	{anyVerb, "", ": unrecognized option '", "", ErrUnsupported},
}

// meaning is the sentinel that what the runtime said about v leads to, nil if
// the words are not in the table.
func meaning(v verb, said string) error {
	said = strings.TrimPrefix(said, "runc create failed: ")
	said = strings.TrimPrefix(said, "exec failed: ")
	for i := range texts {
		t := &texts[i]
		if t.verbs&(1<<v) == 0 || len(said) < len(t.head)+len(t.mid)+len(t.tail) ||
			!strings.HasPrefix(said, t.head) || !strings.HasSuffix(said, t.tail) {
			continue
		}
		if strings.Contains(said[len(t.head):len(said)-len(t.tail)], t.mid) {
			return t.err
		}
	}
	return nil
}
