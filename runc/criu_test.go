package runc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// What criu 4.2.1 and 3.17.1 wrote, cut to what matters.
const (
	lockedDump = `(00.000333) Running on vm Linux 6.18.44 x86_64
(00.551635) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted
(00.974896) ========================================
(01.115463) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=1 path=/tmp/b/out
(01.115478) Error (criu/cr-dump.c:1681): Dump files (pid: 1282) failed with -1
(01.699371) Error (criu/cr-dump.c:2111): Dumping FAILED.
`
	failedRestore = `(01.772387)     11: inet: 	Restore: family AF_INET
(01.772455)     11: Error (soccr/soccr.c:529): Can't connect inet socket back: Network is unreachable
(01.772470)     11: Error (criu/files.c:1221): Unable to open fd=3 id=0xd
(01.773427)      8: Error (soccr/soccr.c:529): Can't connect inet socket back: Network is unreachable
(01.774645)      1: Error (criu/cr-restore.c:1265): 11 exited, status=1
(01.784868) Error (criu/cr-restore.c:2331): Restoring FAILED.
(02.107980) Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No such file or directory
`
	oldCriu = `(00.104383) Error (criu/vdso.c:381): vdso: Unexpected rt vDSO area bounds
(00.104408) Error (criu/vdso.c:613): vdso: Failed to fill self vdso symtable
(00.104410) Error (criu/kerndat.c:1615): kerndat_vdso_fill_symtable failed when initializing kerndat.
`
)

func TestCriusErrorsAreThoseNearestToTheCause(t *testing.T) {
	long := strings.Repeat("ä", 3000)
	for _, c := range []struct {
		name, log string
		want      []string
	}{
		{"a dump", lockedDump, []string{"Can't lookup mount=27 for fd=1 path=/tmp/b/out", "Dump files (pid: 1282) failed with -1"}},
		{"a restore", failedRestore, []string{"Can't connect inet socket back: Network is unreachable", "Unable to open fd=3 id=0xd", "11 exited, status=1"}},
		{"one that does not start", oldCriu, []string{"vdso: Unexpected rt vDSO area bounds", "vdso: Failed to fill self vdso symtable",
			"kerndat_vdso_fill_symtable failed when initializing kerndat."}},
		{"more than anybody reads", strings.Repeat(oldCriu, 2) + failedRestore, []string{"vdso: Unexpected rt vDSO area bounds", "vdso: Failed to fill self vdso symtable",
			"kerndat_vdso_fill_symtable failed when initializing kerndat.", "Can't connect inet socket back: Network is unreachable"}},
		{"within what is restored", "(00.070875) pie: 1: Error (criu/pie/restorer.c:1907): Can't read pages data (-9)\n(00.07) pies: 1: Error (criu/a.c:1): not its\n", []string{"Can't read pages data (-9)"}},
		{"cut short", "(00.1) Error (criu/a.c:1): no end", []string{"no end"}},
		{"lines longer than a page", "(00.1) " + long + "\n(00.2) Error (criu/a.c:1): after it\n", []string{"after it"}},
		{"what others say of errors", "Error (criu/a.c:1): without a time\n(00.1) path=/Error (b): c\n(00.1) Error (criu/a.c:1) without a colon\n", nil},
		{"nothing", "", nil},
	} {
		got, err := criuErrors(strings.NewReader(c.log))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
	got, err := criuErrors(strings.NewReader("(00.1) Error (criu/a.c:1): " + long + "\n"))
	if err != nil || len(got) != 1 || len(got[0]) > maxCriuError+len("…") || !utf8.ValidString(got[0]) {
		t.Errorf("a long error: %d bytes, %v", len(strings.Join(got, "")), err)
	}
}

func FuzzCriuErrors(f *testing.F) {
	for _, log := range []string{lockedDump, failedRestore, oldCriu} {
		f.Add([]byte(log))
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		got, err := criuErrors(strings.NewReader(string(log)))
		if err != nil || len(got) > maxCriuErrors {
			t.Fatalf("%d errors, %v", len(got), err)
		}
		for _, text := range got {
			if text == "" || !utf8.ValidString(text) || len(text) > maxCriuError+len("…") || strings.ContainsRune(text, '\n') {
				t.Errorf("%q", text)
			}
		}
	})
}

func TestAFailureOfCriuIsToldWithItsLog(t *testing.T) {
	s := newStub(t, faults{"*": {"exit": 1, "error": "criu failed: type NOTIFY errno 0\nlog file: work/dump.log"}})
	work := t.TempDir()
	o := CheckpointOpts{ImagePath: "/nowhere/image", WorkPath: work}
	calls := map[string]func() error{
		dumpLog:    func() error { return s.Checkpoint(context.Background(), o) },
		restoreLog: func() error { return s.Restore(context.Background(), RestoreOpts{CheckpointOpts: o}) },
	}
	for name, call := range calls {
		log := filepath.Join(work, name)
		told := func(what string, log string, words ...string) {
			t.Helper()
			err := call()
			var failed *Error
			if !errors.As(err, &failed) || failed.Log != log {
				t.Errorf("%s: %s: %v names %q", name, what, err, failed.Log)
			}
			for _, w := range words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %s: %v, want %q", name, what, err, w)
				}
			}
		}
		told("no log", "", "criu failed: type NOTIFY errno 0\nlog file: work/dump.log")

		// An earlier run's.
		if err := os.WriteFile(log, []byte(lockedDump), 0o600); err != nil {
			t.Fatal(err)
		}
		past := time.Now().Add(-time.Hour)
		if err := os.Chtimes(log, past, past); err != nil {
			t.Fatal(err)
		}
		told("an old log", "", "criu failed")

		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
		writing := script(t, "cat >"+log+" <<'END'\n"+lockedDump+"END\necho 'criu failed: type NOTIFY errno 0' >&2; echo 'log file: elsewhere' >&2; exit 1")
		if name == dumpLog {
			call = func() error { return writing.Checkpoint(context.Background(), o) }
		} else {
			// What restore prints is the container's: it has to be in the runtime's log.
			writing = script(t, "cat >"+log+" <<'END'\n"+lockedDump+"END\n"+
				`printf '%s\n' '{"level":"error","msg":"criu failed: type NOTIFY errno 0\nlog file: elsewhere"}' >log.json; exit 1`)
			call = func() error { return writing.Restore(context.Background(), RestoreOpts{CheckpointOpts: o}) }
		}
		told("a log", log, "criu failed: type NOTIFY errno 0: Can't lookup mount=27 for fd=1 path=/tmp/b/out; Dump files (pid: 1282) failed with -1 (log file: "+log+")")

		// What is no file is not waited for.
		if err := os.Remove(log); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(log, 0o700); err != nil {
			t.Fatal(err)
		}
		call = calls[name]
		told("a directory in its place", "", "criu failed")
	}
}
