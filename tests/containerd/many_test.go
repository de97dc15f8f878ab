package containerd

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// The count and how many at a time are those of a busy node's minute.
const (
	many    = 200
	atATime = 8
)

func TestTwoHundredContainersLeaveNothing(t *testing.T) {
	d := start(t)
	d.importImage()
	d.runImage(nil, "proof", "sleep", "1000")
	zombies := zombieShims(t)
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range atATime {
		wg.Go(func() {
			for n := range numbers {
				if err := oneOfMany(d, n); err != nil {
					t.Errorf("container %d: %v", n, err)
				}
			}
		})
	}
	for n := range many {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	if t.Failed() {
		return
	}
	for n := range many {
		status := n % 256
		d.story(fmt.Sprintf("c%d", n), "create", "start", fmt.Sprintf("exit %d", status), fmt.Sprintf("delete %d", status))
	}
	d.finish("proof")
	d.checkLeaks()
	// Orphans are process 1's to reap, in its own time.
	d.eventually("no shim is a zombie", func() error {
		if now := zombieShims(t); now > zombies {
			return fmt.Errorf("%w: %d, and %d before", errNotYet, now, zombies)
		}
		return nil
	})
}

// oneOfMany runs a container from the image to its end.
func oneOfMany(d *daemon, n int) error {
	s, err := d.try("", d.imageArgs([]string{"--rm"}, fmt.Sprintf("c%d", n), "sh", "-c", fmt.Sprintf("echo %d; exit %d", n, n%256))...)
	if err != nil {
		return err
	}
	code, err := s.wait()
	if err != nil {
		return err
	}
	if out := s.Out.String(); code != n%256 || out != fmt.Sprintf("%d\n", n) {
		return fmt.Errorf("exit code %d, %q: %s", code, out, s.Err)
	}
	return nil
}

// zombieShims counts the zombies that were shims, of whatever daemon: a zombie
// has no arguments to know it by.
func zombieShims(t *testing.T) int {
	t.Helper()
	pids, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, pid := range pids {
		if state, _, err := stat(pid); err == nil && state == 'Z' && strings.HasPrefix(readProc(pid, "comm"), "containerd-shim") {
			count++
		}
	}
	return count
}
