package containerd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// event is one line of `ctr events` about a task.
type event struct {
	topic           string // without /tasks/
	container, exec string // exec is empty for init
	status          uint32 // of an exit and a delete
}

// line is the event as a test writes it: "start", "exit 3", "exit x 0".
func (e event) line() string {
	parts := []string{e.topic}
	if e.exec != "" {
		parts = append(parts, e.exec)
	}
	if e.topic == "exit" || e.topic == "delete" {
		parts = append(parts, fmt.Sprint(e.status))
	}
	return strings.Join(parts, " ")
}

// events are what `ctr events` has printed so far, in its order.
type events struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when everything was read

	mu      sync.Mutex // guards what is below
	tasks   []event
	lines   []string      // of tasks, as printed
	labels  string        // the last change of the namespace's labels
	bad     []string      // lines that could not be read
	changed chan struct{} // closed and replaced when something came
	crashed map[string]bool
	life    int            // which containerd is listened to: 1, 2, …
	lived   map[string]int // the life that a line came in
}

func newEvents() *events {
	return &events{changed: make(chan struct{}), crashed: make(map[string]bool), lived: make(map[string]int)}
}

// listen starts `ctr events` and waits until it is certain to print what comes
// from now on: it says nothing by itself, so a change is made until it tells it.
func (d *daemon) listen() {
	d.t.Helper()
	e := d.events
	cmd := d.command("events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := live.start(cmd); err != nil {
		d.t.Fatal(err)
	}
	e.cmd, e.done = cmd, make(chan struct{})
	e.mu.Lock()
	e.life++
	e.mu.Unlock()
	go e.read(out, e.done)
	d.ctr("namespace", "create", d.namespace) // it may be there already
	count := 0
	d.eventually("ctr events prints events", func() error {
		count++
		mark := fmt.Sprintf("%d-%d", cmd.Process.Pid, count)
		d.must("namespace", "label", d.namespace, "mark="+mark)
		e.mu.Lock()
		defer e.mu.Unlock()
		if !strings.Contains(e.labels, fmt.Sprintf("%d-", cmd.Process.Pid)) {
			return errNotYet
		}
		return nil
	})
}

// stop ends `ctr events`; it may have ended with its containerd.
func (e *events) stop() {
	if e.cmd == nil {
		return
	}
	e.cmd.Process.Signal(syscall.SIGKILL)
	<-e.done
	e.cmd.Wait()
	e.cmd = nil
}

func (e *events) read(r io.Reader, done chan<- struct{}) {
	defer close(done)
	for sc := bufio.NewScanner(r); sc.Scan(); {
		e.take(sc.Text())
	}
}

// take reads a line: time, namespace, topic, and the event as JSON.
func (e *events) take(line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() {
		close(e.changed)
		e.changed = make(chan struct{})
	}()
	_, rest, isTask := strings.Cut(line, " /tasks/")
	if !isTask {
		if _, labels, ok := strings.Cut(line, " /namespaces/update "); ok {
			e.labels = labels
		}
		return
	}
	// What a containerd was told when it was killed is told to the next one again,
	// if the answer did not come.
	if life, seen := e.lived[line]; seen && life != e.life {
		return
	}
	e.lived[line] = e.life
	topic, text, _ := strings.Cut(rest, " ")
	var v struct {
		ContainerID string `json:"container_id"`
		ID          string `json:"id"`
		ExecID      string `json:"exec_id"`
		ExitStatus  uint32 `json:"exit_status"`
	}
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		e.bad = append(e.bad, fmt.Sprintf("%q: %v", line, err))
		return
	}
	ev := event{topic: topic, container: v.ContainerID, exec: v.ExecID, status: v.ExitStatus}
	// In an exit, init goes by the container's id.
	if v.ID != "" && v.ID != v.ContainerID {
		ev.exec = v.ID
	}
	e.tasks = append(e.tasks, ev)
	e.lines = append(e.lines, line)
}

// all is every event of a task as it was printed.
func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.lines)
}

// containers are those that there were events of.
func (e *events) containers() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ids []string
	for _, ev := range e.tasks {
		ids = append(ids, ev.container)
	}
	return ids
}

// story is a container's events in order.
func (e *events) story(id string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var story []string
	for _, ev := range e.tasks {
		if ev.container == id {
			story = append(story, ev.line())
		}
	}
	return story
}

// wait returns when the container's story satisfies done, or with an error.
func (e *events) wait(id string, done func([]string) bool) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		story := e.story(id)
		if done(story) {
			return story, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return story, fmt.Errorf("not within %v", patience)
		}
	}
}

// event waits until the container's story holds a line.
func (d *daemon) event(id, line string) {
	d.t.Helper()
	story, err := d.events.wait(id, func(s []string) bool { return slices.Contains(s, line) })
	if err != nil {
		d.t.Fatalf("%s: no event %q in %q: %v", id, line, story, err)
	}
}

// story waits until as many events of the container have come as are wanted, or
// the last one for certain, and fails the test unless they are these, in this
// order.
func (d *daemon) story(id string, want ...string) {
	d.t.Helper()
	last := want[len(want)-1]
	story, err := d.events.wait(id, func(s []string) bool {
		return len(s) >= len(want) || strings.HasPrefix(last, "delete") && slices.Contains(s, last) && !slices.Contains(want[:len(want)-1], last)
	})
	if err != nil || !slices.Equal(story, want) {
		d.t.Errorf("story of %s: %q, want %q (%v)", id, story, want, err)
	}
}

// lost says that the shim of a container was lost. The daemon then makes up an
// exit and a delete, whatever the shim had told before.
func (e *events) lost(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.crashed[id] = true
}

// disorder lists what the contract does not allow in the order of events: each
// process is added, starts, exits and is deleted in this order and once, and no
// exec's exit comes after init's. A container's id may be used again after its
// delete. What happened while nobody listened is missing, so only what came is
// judged.
func (e *events) disorder() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	problems := slices.Clone(e.bad)
	step := func(topic string) int {
		switch topic {
		case "create", "exec-added":
			return 1
		case "start", "exec-started":
			return 2
		case "exit":
			return 3
		case "delete":
			return 4
		}
		return 0 // may come at any time
	}
	reached := make(map[[2]string]int)
	for _, ev := range e.tasks {
		n := step(ev.topic)
		if n == 0 || e.crashed[ev.container] {
			continue
		}
		process, init := [2]string{ev.container, ev.exec}, [2]string{ev.container, ""}
		switch {
		case ev.topic == "create" && (reached[init] == 0 || reached[init] == 4):
			for p := range reached {
				if p[0] == ev.container {
					delete(reached, p)
				}
			}
		case ev.topic == "exec-added" && reached[process] >= 3:
			// An exec's id may be used again.
		case n <= reached[process]:
			problems = append(problems, fmt.Sprintf("%s: %q out of order", ev.container, ev.line()))
		case ev.exec != "" && reached[init] >= 3 && ev.topic == "exit":
			problems = append(problems, fmt.Sprintf("%s: %q after init's exit", ev.container, ev.line()))
		}
		reached[process] = n
	}
	return problems
}
