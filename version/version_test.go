package version

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestWritePrintsWhatInstallersParse(t *testing.T) {
	var out bytes.Buffer
	if err := Write(&out, "containerd-shim-runc-v2"); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^containerd-shim-runc-v2:\n  Version:  dev\n  Revision: \n  Go version: go\S+.*\n\n$`)
	if !want.MatchString(out.String()) {
		t.Fatalf("printed %q", out.String())
	}
}

// A renamed variable would leave every release called "dev" without any error
// from the linker: build a program and look.
func TestTheLinkerCanStampTheVersion(t *testing.T) {
	dir := t.TempDir()
	pkg := "github.com/holdfast-shim/holdfast/version"
	bin := filepath.Join(dir, "version.test")
	build := exec.Command("go", "test", "-c", "-o", bin,
		"-ldflags", "-X "+pkg+".Version=v9.8.7 -X "+pkg+".Revision=feedface", ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	out, err := exec.Command(bin, "-test.run", "^TestPrint$", "-test.v").CombinedOutput()
	if err != nil {
		t.Fatalf("run: %v\n%s", err, out)
	}
	if !strings.Contains(string(out), "v9.8.7 feedface") {
		t.Fatalf("the stamped binary printed\n%s", out)
	}
}

// TestPrint is what the stamped binary runs.
func TestPrint(t *testing.T) {
	t.Log(Version, Revision)
}
