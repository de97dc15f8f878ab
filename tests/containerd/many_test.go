package containerd

import (
	"fmt"
	"io"
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
	s, err := d.tryBegin(d.imageArgs([]string{"--rm"}, fmt.Sprintf("c%d", n),
		"sh", "-c", fmt.Sprintf("echo number %d; read line; exit %d", n, n%256))...)
	if err != nil {
		return err
	}
	// Ctr throws away what it has not read when the container ends.
	if err := s.await(fmt.Sprintf("number %d\n", n)); err != nil {
		return err
	}
	if _, err := io.WriteString(s.stdin, "go on\n"); err != nil {
		return err
	}
	code, err := s.wait()
	if err != nil {
		return err
	}
	if code != n%256 {
		return fmt.Errorf("exit code %d, want %d: %s", code, n%256, s.Err)
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

func TestEventsOfManyComeInTheOrderOfEach(t *testing.T) {
	d := start(t)
	d.run("proof", "sleep", "1000")
	const containers = 12
	var wg sync.WaitGroup
	for i := range containers {
		wg.Go(func() {
			id := fmt.Sprintf("c%d", i)
			steps := [][]string{
				d.runArgs([]string{"-d"}, id, "sleep", "1000"),
				d.execArgs(nil, id, "x", "sh", "-c", "exit 3"),
				{"task", "pause", id},
				{"task", "resume", id},
				{"task", "rm", "-f", id},
				{"container", "rm", id},
			}
			for n, args := range steps {
				s, err := d.try("", args...)
				if err != nil {
					t.Error(err)
					return
				}
				want := 0
				if n == 1 {
					want = 3
				}
				if code, _ := s.wait(); code != want {
					t.Errorf("%s: exit code %d, want %d: %s", s, code, want, s.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range containers {
		d.story(fmt.Sprintf("c%d", i), "create", "start", "exec-added x", "exec-started x", "exit x 3",
			"paused", "resumed", "exit 137", "delete 137")
	}
	d.finish("proof")
}
