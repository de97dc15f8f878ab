package tests

import (
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// The container's own program looks at itself: a shell would add what is its own.
func lookInside(t *testing.T, args ...string) string {
	t.Helper()
	d := harness.New(t)
	c := d.CreateWant(harness.Want{
		Args: args,
		Edit: func(s *client.Spec) { s.Process.Env = []string{client.DefaultPath, "ONLY=this"} },
	})
	c.Start()
	if status := c.Wait(); status != 0 {
		t.Errorf("%q: status %d, %s", args, status, c.Err)
	}
	c.Delete()
	return c.Out.String()
}

func TestInitHasThreeFilesAndNoMore(t *testing.T) {
	// The fourth is the directory that ls reads.
	if got := strings.Fields(lookInside(t, "ls", "/proc/self/fd")); strings.Join(got, " ") != "0 1 2 3" {
		t.Errorf("files of init while it lists them: %q", got)
	}
}

func TestInitHasNoSignalIgnoredOrBlocked(t *testing.T) {
	// What the daemon, this test, was itself started with is not the shim's
	// doing: a program that make runs has signal 32 ignored.
	daemons := make(map[string]uint64)
	for line := range strings.Lines(readFile(t, "/proc/self/status")) {
		if name, mask, ok := signalMask(t, line); ok {
			daemons[name] = mask
		}
	}
	for line := range strings.Lines(lookInside(t, "grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")) {
		name, mask, ok := signalMask(t, line)
		if !ok || mask&^daemons[name] != 0 {
			t.Errorf("init has %q, the daemon %x", line, daemons[name])
		}
	}
}

// signalMask reads a line of a process's status that holds a set of signals.
func signalMask(t *testing.T, line string) (name string, mask uint64, ok bool) {
	t.Helper()
	name, hex, _ := strings.Cut(line, ":")
	if name != "SigIgn" && name != "SigBlk" {
		return "", 0, false
	}
	mask, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return name, mask, true
}

func TestInitHasNothingOfTheShimsEnvironment(t *testing.T) {
	for line := range strings.Lines(lookInside(t, "env")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "PATH", "ONLY", "HOME":
		default:
			t.Errorf("init has %q in its environment", line)
		}
	}
}

func TestInitsOOMScoreIsNotTheShims(t *testing.T) {
	// The shim's is the daemon's and one more; a container's is its spec's, which
	// says nothing, so runc leaves what it inherits: the shim must not let it
	// inherit its own.
	d := harness.New(t)
	c := d.Run("cat", "/proc/self/oom_score_adj")
	c.Wait()
	c.Delete()
	mine := readFile(t, "/proc/self/oom_score_adj")
	if got := c.Out.String(); got != mine {
		t.Errorf("init's OOM score is %q, the daemon's is %q", got, mine)
	}
}
