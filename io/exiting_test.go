package stdio

import (
	"os"
	"os/exec"
	"testing"
)

func TestProcessThatEndsIsToldFromOneThatLives(t *testing.T) {
	if exiting(os.Getpid()) {
		t.Error("this process ends?")
	}
	zombie := exec.Command("/bin/sh", "-c", "exit 3")
	out, err := zombie.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	// Its end of the pipe is closed by its end alone, and that is seen at once.
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Fatal("it wrote something")
	}
	if !exiting(zombie.Process.Pid) {
		t.Error("a process whose descriptors are closed does not end?")
	}
	_ = zombie.Wait()
	if !exiting(zombie.Process.Pid) {
		t.Error("a process that was reaped does not end?")
	}
}

func TestStatOfAProcess(t *testing.T) {
	for stat, want := range map[string]bool{
		"12 (sh) S 1 12 12 0 -1 4194560 1 2": false,
		"12 (sh) S 1 12 12 0 -1 4194564 1 2": true, // PF_EXITING
		"12 (sh) Z 1 12 12 0 -1 4194304 1 2": true,
		"12 (sh) X 0 0 0 0 -1 0":             true,
		"12 (a) Z 1) S 1 12 12 0 -1 0 1 2":   false, // a name to fool the reader
		"12 (sh) S 1 12":                     false,
		"":                                   false,
		")":                                  false,
		"12 (sh) S 1 12 12 0 -1 x":           false,
	} {
		if got := statExiting([]byte(stat)); got != want {
			t.Errorf("%q: %v, want %v", stat, got, want)
		}
	}
}

func FuzzStatExiting(f *testing.F) {
	f.Add([]byte("12 (sh) S 1 12 12 0 -1 4194560 1 2"))
	f.Add([]byte("12 (a) Z) ( Z"))
	f.Fuzz(func(_ *testing.T, stat []byte) { statExiting(stat) })
}
