package containerd

import (
	"fmt"
	"strings"
	"testing"
)

// sizeIs is a shell's loop that ends when its terminal has that size, and shows
// it. What is typed is echoed, so the size that a test waits for is written
// otherwise here.
func sizeIs(rows, cols int) string {
	return fmt.Sprintf("until s=$(stty size); [ $(echo $s | tr ' ' x) = %dx%d ]; do sleep 0.02; done; echo $s\n", rows, cols)
}

func TestRunOnATerminal(t *testing.T) {
	d := start(t)
	s := d.onTerminal(33, 77, d.runArgs([]string{"--rm", "-t"}, "c", "sh")...)
	d.event("c", "start")
	d.shimOf("c")
	useTerminal(t, s)
	if screen, code := s.shown(); code != 5 {
		t.Errorf("exit code %d, want 5; the screen:\n%s", code, screen)
	}
	d.story("c", "create", "start", "exit 5", "delete 5")
}

func TestExecOnATerminal(t *testing.T) {
	d := start(t)
	d.run("c", "sleep", "1000")
	s := d.onTerminal(33, 77, d.execArgs([]string{"-t"}, "c", "x", "sh")...)
	useTerminal(t, s)
	if screen, code := s.shown(); code != 5 {
		t.Errorf("exit code %d, want 5; the screen:\n%s", code, screen)
	}
	d.event("c", "exit x 5")
	d.finish("c")
}

// useTerminal does with a shell on a terminal of 33 rows and 77 columns what a
// person does: looks, resizes, interrupts, leaves with status 5.
func useTerminal(t *testing.T, s *terminal) {
	t.Helper()
	s.keys(sizeIs(33, 77))
	s.expect("33 77")
	s.keys(sizeIs(44, 132))
	// Ctr looks at the size and only then listens for changes; what comes between
	// is lost to it.
	s.d.eventually("the new size is known", func() error {
		s.resize(t, 44, 131)
		s.resize(t, 44, 132)
		if !strings.Contains(s.Out.String(), "44 132") {
			return errNotYet
		}
		return nil
	})
	s.keys("tty; test -t 0 && test -t 1 && test -t 2 && echo all-$((1 + 1))\n")
	s.expect("/dev/pts/")
	s.expect("all-2")
	s.keys("sh -c 'trap \"echo caught-\\$((1 + 1)); exit\" INT; echo wait-$((1 + 1)); while :; do sleep 0.02; done'\n")
	s.expect("wait-2")
	s.keys("\x03")
	s.expect("caught-2")
	s.keys("exit 5\n")
}

func TestEverythingPrintedOnATerminalArrives(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sleep", "1000")
	const lines = 50000
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "%d\r\n", i+1)
	}
	for i := range 3 {
		door := fmt.Sprintf("shown%d", i)
		s := d.onTerminal(24, 80, d.execArgs([]string{"-t"}, "c", fmt.Sprintf("x%d", i),
			"sh", "-c", fmt.Sprintf("seq 1 %d; ", lines)+g.wait(door))...)
		// Ctr throws away what it has not read when the process ends.
		s.expect(fmt.Sprintf("\r\n%d\r\n", lines))
		g.openDoor(door)
		screen, code := s.shown()
		if code != 0 || screen != want.String() {
			t.Errorf("exit code %d, %d bytes of %d, the last %q", code, len(screen), want.Len(), screen[max(0, len(screen)-40):])
		}
	}
	d.finish("c")
}
