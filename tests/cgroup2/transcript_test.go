package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

const passes = `=== RUN   TestA
    a_test.go:1: a word
--- PASS: TestA (0.01s)
=== RUN   TestB
=== RUN   TestB/sub
--- PASS: TestB (0.02s)
    --- PASS: TestB/sub (0.01s)
PASS
`

const fails = `=== RUN   TestA
    a_test.go:1: a word
--- PASS: TestA (0.01s)
=== RUN   TestBad
    a_test.go:2: the reason
=== RUN   TestBad/sub
--- FAIL: TestBad (0.02s)
    --- FAIL: TestBad/sub (0.01s)
=== RUN   TestC
    a_test.go:3: another word
--- PASS: TestC (0.01s)
FAIL
`

func TestTranscripts(t *testing.T) {
	const machine, end = "@@ machine Linux\n", "@@ end\n"
	both := []suite{{name: "one"}, {name: "two"}}
	for _, tt := range []struct {
		name, text string
		suites     []suite
		errs       []string // what the error says; none: no error
		tells      []string
		hides      []string
	}{
		{
			name: "all is well", suites: both,
			text:  machine + "@@ suite one\n" + passes + "\n@@ status 0\n@@ suite two\n" + passes + "\n@@ status 0\n" + end,
			tells: []string{"ok   one          2 passed, 0 failed, 0 skipped in 1s", "ok   two "},
			hides: []string{"a word", "TestA"},
		},
		{
			name: "carriage returns", suites: both[:1],
			text:  strings.ReplaceAll(machine+"@@ suite one\n"+passes+"\n@@ status 0\n"+end, "\n", "\r\n"),
			tells: []string{"ok   one          2 passed"},
		},
		{
			name: "a test fails", suites: both,
			text:  machine + "@@ suite one\n" + fails + "\n@@ status 1\n@@ suite two\n" + passes + "\n@@ status 0\n" + end,
			errs:  []string{"one failed"},
			tells: []string{"the reason", "--- FAIL: TestBad (", "--- FAIL: TestBad/sub", "FAIL one          2 passed, 1 failed", "ok   two"},
			hides: []string{"a word", "another word"},
		},
		{
			name: "a panic", suites: both[:1],
			text:  machine + "@@ suite one\n=== RUN   TestA\npanic: oh\n\n@@ status 2\n" + end,
			errs:  []string{"one failed"},
			tells: []string{"panic: oh", "FAIL one"},
		},
		{
			name: "a program that cannot be run", suites: both[:1],
			text:  machine + "@@ suite one\nenv: no such thing\n\n@@ status 127\n" + end,
			errs:  []string{"one failed"},
			tells: []string{"env: no such thing"},
		},
		{
			name: "something is left", suites: both[:1],
			text:  machine + "@@ suite one\n" + passes + "\n@@ status 0\n@@ left cgroup /x\n" + end,
			errs:  []string{"one failed"},
			tells: []string{"left behind: cgroup /x"},
		},
		{
			name: "a skipped test is told", suites: both[:1],
			text:  machine + "@@ suite one\n" + passes + "=== RUN   TestS\n    why not\n--- SKIP: TestS (0.0s)\nPASS\n\n@@ status 0\n" + end,
			tells: []string{"why not", "--- SKIP: TestS", "1 skipped"},
		},
		{
			name: "the machine ends in a test", suites: both,
			text:  machine + "@@ suite one\n=== RUN   TestA\n--- PASS: TestA (0.0s)\n=== RUN   TestB\n    last words",
			errs:  []string{"the machine ended before its tests did"},
			tells: []string{"TestB", "FAIL one          1 passed, 0 failed, 0 skipped, and did not end"},
		},
		{
			name: "the machine ends between suites", suites: both,
			text: machine + "@@ suite one\n" + passes + "\n@@ status 0\n",
			errs: []string{"the machine ended before its tests did"},
		},
		{
			name: "a suite was not run", suites: both,
			text: machine + "@@ suite one\n" + passes + "\n@@ status 0\n" + end,
			errs: []string{"the machine ended before its tests did"},
		},
		{
			name: "the machine says nothing", suites: both,
			errs: []string{"the machine ended before its tests did"},
		},
		{
			name: "no test matches", suites: both[:1],
			text: machine + "@@ suite one\ntesting: warning: no tests to run\nPASS\n\n@@ status 0\n" + end,
			errs: []string{"not one test was run"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tr := newTranscript(&out, false)
			clock := time.Unix(0, 0)
			tr.now = func() time.Time { clock = clock.Add(time.Second); return clock }
			// One byte at a time, as a serial line may bring them.
			var b [1]byte
			for r := iotest.OneByteReader(strings.NewReader(tt.text)); ; {
				if _, err := r.Read(b[:]); err != nil {
					break
				}
				if n, err := tr.Write(b[:]); n != 1 || err != nil {
					t.Fatal(n, err)
				}
			}
			err := tr.err(tt.suites)
			tr.summary(&out)
			if (err == nil) != (len(tt.errs) == 0) {
				t.Errorf("error: %v", err)
			}
			for _, want := range tt.errs {
				if err != nil && !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			for _, want := range tt.tells {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not tell %q", want)
				}
			}
			for _, not := range tt.hides {
				if strings.Contains(out.String(), not) {
					t.Errorf("tells %q", not)
				}
			}
			if t.Failed() {
				t.Logf("told:\n%s", &out)
			}
		})
	}
}

func TestVerboseTellsEveryLineOnce(t *testing.T) {
	var out bytes.Buffer
	tr := newTranscript(&out, true)
	tr.Write([]byte("@@ suite one\n" + fails + "\n@@ status 1\n@@ end\n"))
	for line := range strings.Lines(fails) {
		if n := strings.Count("\n"+out.String(), "\n"+line); n != 1 {
			t.Errorf("%d times: %q", n, line)
		}
	}
}

func script(t *testing.T, i image) string {
	t.Helper()
	text, err := suitesScript(i)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWordsForAShellAreQuoted(t *testing.T) {
	t.Setenv("HOLDFAST_OOMS", "100")
	t.Setenv("HOLDFAST_STRESS", "")
	got := script(t, image{suites: []suite{{name: "x", pkg: "a", env: []string{"A=b c"}}}, pattern: "^Test'($|.*)", limit: time.Minute})
	want := `'suite' 'x' '/source/a' 'env' 'HOLDFAST_BUILT=/built' 'HOLDFAST_PATIENCE=5m' 'HOLDFAST_RUNC_TIMEOUT=5m' 'HOLDFAST_OOMS=100' 'A=b c' '/source/a/test' '-test.v' '-test.timeout=1m0s' '-test.run=^Test'\''($|.*)'` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestACoreIsTheTestsOfItsFiles(t *testing.T) {
	root := t.TempDir()
	text := "package a\n\nfunc TestOne(t *testing.T) {}\n\nfunc helper() {}\n\n// func TestNone\nfunc TestTwo(t *testing.T) {}\n"
	for name, text := range map[string]string{"a_test.go": text, "none_test.go": "package a\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i := image{root: root, suites: []suite{{name: "x", core: []string{"a_test.go"}}}}
	if got := script(t, i); !strings.Contains(got, " '-test.run=^(TestOne|TestTwo)$'\n") {
		t.Errorf("core: %s", got)
	}
	i.all = true
	if got := script(t, i); strings.Contains(got, "-test.run") {
		t.Errorf("all: %s", got)
	}
	i.all, i.pattern = false, "Other"
	if got := script(t, i); !strings.Contains(got, " '-test.run=Other'\n") {
		t.Errorf("by pattern: %s", got)
	}
	for _, name := range []string{"none_test.go", "missing_test.go"} {
		if _, err := suitesScript(image{root: root, suites: []suite{{core: []string{name}}}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestTheCoresAreThere(t *testing.T) {
	if _, err := suitesScript(image{root: "../..", suites: suites()}); err != nil {
		t.Error(err)
	}
}

func TestLibrariesAreFoundInWhatLddSays(t *testing.T) {
	const ldd = `	linux-vdso.so.1 (0x00007fc2aa6f7000)
	libseccomp.so.2 => /lib/x86_64-linux-gnu/libseccomp.so.2 (0x00007fc2aa6c6000)
	/lib64/ld-linux-x86-64.so.2 (0x00007fc2aa6f9000)
`
	if got := strings.Join(libraries(ldd), " "); got != "/lib/x86_64-linux-gnu/libseccomp.so.2 /lib64/ld-linux-x86-64.so.2" {
		t.Errorf("got %q", got)
	}
}

func TestSuitesAreChosenByName(t *testing.T) {
	if all, err := choose(nil); err != nil || len(all) != len(suites()) {
		t.Errorf("none named: %d suites, %v", len(all), err)
	}
	if two, err := choose([]string{"e2e-crun", "cgroup"}); err != nil || len(two) != 2 || two[0].name != "e2e-crun" || two[1].name != "cgroup" {
		t.Errorf("two named: %v, %v", two, err)
	}
	if _, err := choose([]string{"nonsense"}); err == nil || !strings.Contains(err.Error(), "e2e-runc") {
		t.Errorf("error %v", err)
	}
}
