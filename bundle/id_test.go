package bundle

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestIDsThatAreNoPathAndNoOptionAreValid(t *testing.T) {
	for _, id := range []string{
		"a", "init", "a.b", "a..b", ".hidden", "...", "Über", "a b", "1", "f00-ba_r.baz",
		strings.Repeat("a", 76), strings.Repeat("a", MaxID),
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	} {
		if err := ValidID(id); err != nil {
			t.Errorf("ValidID(%q) = %v", id, err)
		}
	}
	for _, id := range []string{
		"", ".", "..", "/", "a/b", "../a", "a\x00b", "\xff", "-a", "--root=/", "a\nb", "\x7f",
		strings.Repeat("a", MaxID+1),
	} {
		if err := ValidID(id); !errors.Is(err, ErrInvalidID) {
			t.Errorf("ValidID(%q) = %v, want ErrInvalidID", id, err)
		}
	}
}

// containerd's rule, from its pkg/identifiers: what it lets through must never
// be refused here.
func FuzzValidIDIsNeverStricterThanContainerd(f *testing.F) {
	theirs := regexp.MustCompile(`^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$`)
	f.Add("a-b")
	f.Add("-a")
	f.Add("a\n")
	f.Fuzz(func(t *testing.T, id string) {
		if len(id) <= 76 && theirs.MatchString(id) {
			if err := ValidID(id); err != nil {
				t.Fatalf("containerd allows %q: %v", id, err)
			}
		}
		if ValidID(id) != nil {
			return
		}
		if strings.ContainsAny(id, "/\x00") || id == ".." || strings.HasPrefix(id, "-") {
			t.Fatalf("%q is not safe", id)
		}
	})
}

func TestAnExecCalledInitDoesNotTakeTheInitsPidFile(t *testing.T) {
	if name := ExecPidFile("abc"); name != "abc.pid" {
		t.Errorf("ExecPidFile(abc) = %q", name)
	}
	name := ExecPidFile("init")
	for _, other := range []string{
		InitPidFile, AddressFile, OptionsFile, RuntimeFile, ExitFile, RuntimeLog, ConfigFile, LogFifo, Rootfs, WorkLink,
	} {
		if name == other {
			t.Errorf("ExecPidFile(init) is %s", other)
		}
	}
	if strings.HasSuffix(name, ".pid") {
		t.Errorf("ExecPidFile(init) = %q is also the name for the exec %q", name, strings.TrimSuffix(name, ".pid"))
	}
}
