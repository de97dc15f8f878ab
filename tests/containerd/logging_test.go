package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOutputGoesToAFile(t *testing.T) {
	d := start(t)
	g := d.gate()
	log := filepath.Join(d.dir, "logs", "of", "c.log") // the shim makes what is missing
	d.runWith(append(g.flags(), "--log-uri", "file://"+log), "c", "sh", "-c",
		"echo first; echo second >&2; "+g.script("echo last; exit 3"))
	d.eventually("the first lines are in the file", func() error { return has(log, "first\n", "second\n") })
	// Nobody's absence is felt.
	d.kill()
	g.open()
	d.up()
	d.stopped("c")
	d.remove("c")
	if err := has(log, "first\n", "second\n", "last\n"); err != nil {
		t.Error(err)
	}
}

func TestOutputGoesToALogger(t *testing.T) {
	d := start(t)
	g := d.gate()
	got := filepath.Join(d.dir, "logged")
	// It says that it is ready, then writes down who it is for and what it reads.
	logger := filepath.Join(d.dir, "logger")
	script := `#!/bin/sh
exec 5>&-
echo "$CONTAINER_NAMESPACE $CONTAINER_ID $*" >` + got + `
/bin/cat <&3 >>` + got + `
/bin/cat <&4 >>` + got + `
echo bye >>` + got + `
`
	if err := os.WriteFile(logger, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	d.runWith(append(g.flags(), "--log-uri", "binary://"+logger+"?color=none"), "c", "sh", "-c",
		"echo out; echo err >&2; "+g.script("echo last; exit 3"))
	d.eventually("the first line is logged", func() error { return has(got, d.namespace+" c color none\nout\n") })
	d.kill()
	g.open()
	d.up()
	d.stopped("c")
	d.remove("c")
	// Delete comes after the logger's end.
	b, err := os.ReadFile(got)
	if want := d.namespace + " c color none\nout\nlast\nerr\nbye\n"; err != nil || string(b) != want {
		t.Errorf("logged: %q, %v; want %q", b, err, want)
	}
}

func TestALoggerThatIsNotThereFailsTheRun(t *testing.T) {
	d := start(t)
	d.run("proof", "sleep", "1000")
	d.refused("/not/there", d.runArgs([]string{"-d", "--log-uri", "binary:///not/there"}, "c", "true")...)
	if _, ok := d.task("c"); ok {
		t.Error("there is a task whose output nobody takes")
	}
	d.ctr("container", "rm", "c") // ctr itself may have done so
	d.finish("proof")
}

// has returns nil if the file holds all of that.
func has(path string, texts ...string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if !strings.Contains(string(b), text) {
			return errNotYet
		}
	}
	return nil
}
