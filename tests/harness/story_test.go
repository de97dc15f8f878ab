package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
)

func TestMain(m *testing.M) { Main(m) }

// told makes events of short lines: "create", "exit", "exec-added x", "exit x".
func told(lines ...string) []client.Event {
	var all []client.Event
	for i, l := range lines {
		topic, exec, _ := strings.Cut(l, " ")
		all = append(all, client.Event{
			Life: 1, Time: time.Unix(int64(i), 0), Topic: "/tasks/" + topic, ContainerID: "c", ExecID: exec,
		})
	}
	return all
}

func TestWhatTheContractAllowsIsNoDisorder(t *testing.T) {
	for _, story := range [][]string{
		{},
		{"create"},
		{"create", "start", "exit", "delete"},
		{"create", "exit", "delete"}, // killed before its start
		{"create", "delete"},
		{"create", "start", "oom", "oom", "exit", "delete"},
		{"create", "start", "paused", "resumed", "exit", "delete"},
		{"create", "start", "exec-added x", "exec-started x", "exit x", "exit", "delete"},
		{"create", "start", "exec-added x", "exit", "delete"},
		{"create", "start", "exec-added x", "exec-started x", "exit x", "exec-added x", "exec-started x", "exit x", "exit", "delete"},
		{"create", "start", "exit", "delete", "create", "start", "exit", "delete"},
	} {
		if got := disorder(told(story...), nil); len(got) > 0 {
			t.Errorf("%q: %q", story, got)
		}
	}
}

func TestWhatTheContractForbidsIsDisorder(t *testing.T) {
	for _, story := range [][]string{
		{"start", "create"},
		{"create", "exit", "start"},
		{"create", "start", "start"},
		{"create", "start", "exit", "exit"},
		{"create", "start", "delete"},
		{"create", "start", "exit", "delete", "delete"},
		{"create", "start", "exit", "oom"},
		{"create", "create"},
		{"create", "start", "exit", "delete", "paused"},
		{"create", "start", "exec-started x"},
		{"create", "start", "exec-added x", "exit x", "exec-started x"},
		{"create", "start", "exec-added x", "exec-started x", "exit x", "exit x"},
		{"create", "start", "exec-added x", "exec-started x", "exit", "exit x"},
		{"create", "start", "exec-added x", "exec-started x", "exec-added x"},
	} {
		if got := disorder(told(story...), nil); len(got) == 0 {
			t.Errorf("%q passed for order", story)
		}
	}
	if got := disorder(told("create", "start", "create"), map[string]bool{"c": true}); len(got) > 0 {
		t.Errorf("a container whose shim was lost: %q", got)
	}
}

func TestOnlyARepeatToAnotherLifeOrAfterALateAnswerIsLeftOut(t *testing.T) {
	events := told("create", "start", "exit")
	again := events[2]
	for late, want := range map[time.Duration]int{0: 4, answerLimit - 1: 4, answerLimit: 3} {
		again.Arrived = again.Time.Add(late)
		if got := len(onceEach(append(events, again))); got != want {
			t.Errorf("a repeat in one life after %v: %d events, want %d", late, got, want)
		}
	}
	again.Arrived = events[2].Arrived
	again.Life = 2
	if got := len(onceEach(append(events, again))); got != 3 {
		t.Errorf("a repeat in the next life: %d events", got)
	}
	again.Time = again.Time.Add(1)
	if got := len(onceEach(append(events, again))); got != 4 {
		t.Errorf("another event in the next life: %d events", got)
	}
}

func TestOutputIsWaitedFor(t *testing.T) {
	var o Output
	done := make(chan error, 1)
	go func() { done <- o.Wait(t.Context(), "two") }()
	fmt.Fprint(&o, "one t")
	fmt.Fprint(&o, "wo")
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.Wait(ctx, "three"); !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
}

// A check for leaks that sees nothing is worse than none.
func TestEveryKindOfLeakIsSeen(t *testing.T) {
	d := New(t)
	seen := func(what string) {
		t.Helper()
		left, err := d.Leaks()
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 || !strings.Contains(strings.Join(left, "\n"), what) {
			t.Errorf("leaks %q lack %q", left, what)
		}
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if left, err := d.Leaks(); err != nil || len(left) > 0 {
		t.Fatalf("at first: %q, %v", left, err)
	}

	p := exec.Command("sleep", "1000")
	p.Args[0] = filepath.Join(d.Dir, "x") // what it is called as
	check(p.Start())
	seen("process ")
	check(p.Process.Kill())
	p.Wait()

	check(os.MkdirAll(d.SocketDir, 0o700))
	e, err := client.ListenEvents(filepath.Join(d.SocketDir, "x"))
	check(err)
	seen("socket ")
	check(e.Stop())

	at := filepath.Join(d.Dir, "mnt")
	check(os.Mkdir(at, 0o700))
	check(unix.Mount("tmpfs", at, "tmpfs", 0, ""))
	seen("mount on ")
	check(unix.Unmount(at, 0))

	group := filepath.Join("/sys/fs/cgroup", d.Namespace, "x")
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		group = filepath.Join("/sys/fs/cgroup/pids", d.Namespace, "x")
	}
	check(os.MkdirAll(group, 0o755))
	seen("cgroup ")
	check(os.Remove(group))

	check(os.MkdirAll(filepath.Join(d.runtimeRoot(), "x"), 0o700))
	seen(d.runtimeRoot())
	check(os.RemoveAll(d.runtimeRoot()))

	b, err := d.NewBundle("x", []byte("{}"))
	check(err)
	seen(b.Path)
	check(b.Delete())

	io, err := client.NewIO(d.Fifos, "x", client.Streams{Stdout: &Output{}})
	check(err)
	seen(d.Fifos)
	check(io.Close())

	if left, err := d.Leaks(); err != nil || len(left) > 0 {
		t.Errorf("at last: %q, %v", left, err)
	}
}
