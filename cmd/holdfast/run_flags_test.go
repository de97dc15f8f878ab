package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// withShim has parseRun find a shim.
func withShim(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{"--shim", "/bin/true"}, args...)
}

func TestFlagsComeBeforeTheCommandAndItsOwnStayWithIt(t *testing.T) {
	t.Setenv("FROM_HERE", "taken")
	o, err := parseRun(withShim(t, "-it", "--env", "A=b=c", "--env", "FROM_HERE", "--env", "NOT_SET_HERE", "--memory", "64M",
		"--cpus", "1.5", "--pids", "9", "--read-only", "--dialect", "2", "sh", "-c", "--env"))
	if err != nil {
		t.Fatal(err)
	}
	if !o.Input || !o.Terminal || !o.ReadOnly || o.Memory != 64<<20 || o.CPUs != 1.5 || o.Pids != 9 || o.Dialect != 2 {
		t.Errorf("options %+v", o)
	}
	if got := strings.Join(o.Args, " "); got != "sh -c --env" {
		t.Errorf("command %q", got)
	}
	if got := strings.Join(o.Env, " "); got != "A=b=c FROM_HERE=taken" {
		t.Errorf("environment %q", got)
	}
	if !validID(o.ID) {
		t.Errorf("id %q", o.ID)
	}
}

func TestTheStateRootIsTheFlagsOrTheEnvironments(t *testing.T) {
	t.Setenv(rootEnv, "")
	o, err := parseRun(withShim(t, "--", "true"))
	if err != nil || o.Root != defaultRoot {
		t.Errorf("root %q, %v", o.Root, err)
	}
	t.Setenv(rootEnv, "/by/env")
	if o, err = parseRun(withShim(t, "--", "true")); err != nil || o.Root != "/by/env" {
		t.Errorf("root %q, %v", o.Root, err)
	}
	if o, err = parseRun(withShim(t, "--root", "/by/flag", "--", "true")); err != nil || o.Root != "/by/flag" {
		t.Errorf("root %q, %v", o.Root, err)
	}
}

func TestHelpIsNoError(t *testing.T) {
	if _, err := parseRun([]string{"-h"}); !errors.Is(err, errHelp) {
		t.Errorf("error: %v", err)
	}
	var help strings.Builder
	runCommand().writeHelp(&help)
	for _, flag := range []string{"-rootfs DIR", "-memory SIZE", "-events"} {
		if !strings.Contains(help.String(), flag) {
			t.Errorf("the help lacks %s", flag)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "4096": 4096, "1k": 1 << 10, "2K": 2 << 10, "3m": 3 << 20, "4G": 4 << 30,
		"8589934591g": 8589934591 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "k", "0", "-1", "1.5g", "1kb", "8589934592g", "99999999999999999999", " 1"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q was taken for %d", text, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("64m")
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := parseSize(text); err == nil && n < 1 {
			t.Errorf("%q is %d", text, n)
		}
	})
}

func TestIDsAreContainerds(t *testing.T) {
	for _, id := range []string{"a", "A9", "a-b_c.d", strings.Repeat("x", maxID)} {
		if !validID(id) {
			t.Errorf("%q was refused", id)
		}
	}
	for _, id := range []string{"", ".", "-a", "a-", "a..b", "a/b", "a b", "ä", strings.Repeat("x", maxID+1)} {
		if validID(id) {
			t.Errorf("%q was taken", id)
		}
	}
}

func TestTheShimIsFoundBesideTheToolOrInThePath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if got, err := findShim(""); err == nil {
		t.Errorf("found %s", got)
	}
	path := filepath.Join(dir, shimName)
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := findShim(""); err != nil || got != path {
		t.Errorf("found %s, %v", got, err)
	}
}
