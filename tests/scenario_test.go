package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
	"github.com/holdfast-shim/holdfast/tests/scenario"
)

// The stories of package task that a real shim with a real runtime can be part in
// say so in their first line. Here nobody knows when all is quiet: what is to come
// is waited for, and what is to wait must not have come by then. Of an error only
// the code is compared, and of the events the order in each container.
func TestScenariosOnARealShim(t *testing.T) {
	files, err := filepath.Glob("../task/testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	for _, file := range files {
		story, err := scenario.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(story[0].Comments[0], "# Also played on a real shim") {
			continue
		}
		played++
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			d := harness.New(t)
			p := &storyPlayer{
				t: t, d: d, stub: d.Stub(), file: file,
				containers: make(map[string]*harness.Container),
				faults:     make(map[string]harness.Fault),
				events:     make(map[string][]string),
				pids:       make(map[string]int),
			}
			for _, b := range story {
				p.play(b)
			}
			p.end()
		})
	}
	if played == 0 {
		t.Error("no story says that it is played on a real shim")
	}
}

// storyPlayer plays a story against a real shim. Init and every exec read their
// exit code from a fifo of theirs in the container.
type storyPlayer struct {
	t    *testing.T
	d    *harness.Daemon
	stub *harness.Stub
	file string

	faults   map[string]harness.Fault // by verb
	pass     int                      // numbers the files that let a verb go on
	order    []string                 // the containers' ids
	events   map[string][]string      // that are to have come, by container
	pids     map[string]int           // the real ones, by the story's numbers
	requests []*storyRequest

	mu         sync.Mutex // guards what is below
	containers map[string]*harness.Container
}

type storyRequest struct {
	text   string
	done   chan struct{}
	answer string // after done
	seen   bool
}

func (p *storyPlayer) play(b scenario.Block) {
	at := fmt.Sprintf("%s:%d", p.file, b.Line)
	answered, waits := map[string]bool{}, map[string]bool{}
	for _, line := range b.Result {
		what, answer, _ := strings.Cut(line, ": ")
		switch {
		case what == "event":
			topic, rest, _ := strings.Cut(answer, " ")
			id, rest, _ := strings.Cut(rest, " ")
			p.events[id] = append(p.events[id], strings.TrimSpace(topic+" "+rest))
		case answer == "waits":
			waits[what] = true
		default:
			answered[what] = true
		}
	}
	for _, command := range b.Commands {
		f := strings.Fields(command)
		switch f[0] {
		case "runtime":
			p.runtime(f[1], f[2])
		case "release":
			p.stub.Touch(filepath.Base(p.faults[f[1]].Until))
			what := strings.Join(f[1:], " ")
			if f[1] == "exec" {
				what = "start " + strings.Join(f[2:], " ")
			}
			if answered[what] {
				<-p.oldest(what).done
			}
		case "daemon":
			if f[1] == "away" {
				p.d.Down()
			} else {
				p.d.Up()
			}
		case "advance":
		case "exit":
			p.exit(f)
		default:
			r := p.request(f)
			if waits[r.text] {
				p.stuck(r)
			} else {
				<-r.done
			}
		}
	}
	for _, line := range b.Result {
		if what, answer, _ := strings.Cut(line, ": "); what != "event" && answer != "waits" {
			p.compare(at, what, answer)
		}
	}
	for id := range p.events {
		if c := p.container(id); c != nil {
			p.d.WantStory(c, p.events[id]...)
		}
	}
	for _, r := range p.requests {
		select {
		case <-r.done:
			if !r.seen {
				p.t.Errorf("%s: %s: %s, and nobody wants an answer yet", at, r.text, r.answer)
			}
		default:
		}
	}
}

// compare waits for the answer of the oldest such request that nobody has seen.
func (p *storyPlayer) compare(at, what, want string) {
	p.t.Helper()
	r := p.oldest(what)
	r.seen = true
	select {
	case <-r.done:
	case <-p.d.Ctx().Done():
		p.t.Fatalf("%s: %s is not answered", at, what)
	}
	got := r.answer
	code, _, isError := strings.Cut(want, ":")
	switch {
	case isError:
		got, _, _ = strings.Cut(got, ":")
		want = code
	case strings.HasPrefix(want, "pid "):
		n := strings.TrimPrefix(want, "pid ")
		pid, _ := strconv.Atoi(strings.TrimPrefix(got, "pid "))
		if p.pids[n] == 0 {
			p.pids[n] = pid
		}
		_, process, _ := strings.Cut(what, " ")
		p.pids[process] = pid // what goes by that name now
		want = fmt.Sprint("pid ", p.pids[n])
	case strings.HasPrefix(what, "pids "):
		var pids []int
		for _, n := range strings.Fields(want) {
			pids = append(pids, p.pids[n])
		}
		slices.Sort(pids)
		want = strings.Trim(fmt.Sprint(pids), "[]")
	}
	if got != want {
		p.t.Errorf("%s: %s: %s, want %s", at, what, r.answer, want)
	}
}

// oldest is the first request of that text whose answer nobody has seen.
func (p *storyPlayer) oldest(what string) *storyRequest {
	p.t.Helper()
	for _, r := range p.requests {
		if r.text == what && !r.seen {
			return r
		}
	}
	p.t.Fatalf("%s: nobody has asked for %s", p.file, what)
	return nil
}

// runtime says how the next calls of a verb go.
func (p *storyPlayer) runtime(verb, mode string) {
	p.pass++
	one := 1
	mark, pass := p.stub.File(fmt.Sprint("at-", p.pass)), p.stub.File(fmt.Sprint("go-", p.pass))
	switch mode {
	case "ok":
		delete(p.faults, verb)
	case "stuck":
		p.faults[verb] = harness.Fault{Mark: mark, Until: pass}
	case "stuck-after":
		p.faults[verb] = harness.Fault{After: true, Mark: mark, Until: pass}
	case "fails":
		p.faults[verb] = harness.Fault{Exit: &one, Error: "it fails"}
	case "fails-after":
		p.faults[verb] = harness.Fault{After: true, Exit: &one, Error: "it fails after its work"}
	case "nothing":
		p.faults[verb] = harness.Exits(0)
	default:
		p.t.Fatalf("%s: runtime %s", p.file, mode)
	}
	p.stub.Set(p.faults)
}

// stuck returns when the runtime is at what the request is to wait for.
func (p *storyPlayer) stuck(r *storyRequest) {
	f := strings.Fields(r.text)
	verb := f[0]
	if verb == "start" && len(f) > 2 {
		verb = "exec"
	}
	if fault, ok := p.faults[verb]; ok && fault.Mark != "" {
		p.stub.WaitFile(p.d, filepath.Base(fault.Mark))
	}
}

func (p *storyPlayer) container(id string) *harness.Container {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.containers[id]
}

// codeFifo is where a process of the container reads its exit code.
func codeFifo(c *harness.Container, exec string) string {
	return filepath.Join(c.Bundle.Path, "rootfs", "exit-"+exec)
}

func readsCode(exec string) []string {
	return []string{"sh", "-c", "read code </exit-" + exec + "; exit $code"}
}

// exit ends a process and waits until the kernel has ended it.
func (p *storyPlayer) exit(f []string) {
	p.t.Helper()
	id, exec, code := f[1], "", f[len(f)-1]
	if len(f) == 4 {
		exec = f[2]
	}
	c := p.container(id)
	pid := p.pidOf(c, exec)
	h, err := client.HoldPid(pid)
	if err != nil {
		p.t.Fatal(err)
	}
	defer h.Close()
	w, err := os.OpenFile(codeFifo(c, exec), os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(w, code)
		err = errors.Join(err, w.Close())
	}
	if err == nil {
		err = h.Wait(p.d.Ctx())
	}
	if err != nil {
		p.t.Fatalf("%v: %v", f, err)
	}
}

// pidOf is the pid of a process, as the runtime wrote it down: the shim may not
// know it yet.
func (p *storyPlayer) pidOf(c *harness.Container, exec string) int {
	p.t.Helper()
	file := "init.pid"
	if exec != "" {
		file = exec + ".pid"
	}
	text, err := os.ReadFile(filepath.Join(c.Bundle.Path, file))
	if errors.Is(err, os.ErrNotExist) { // an exec's is gone when its start is over
		s, err := c.Shim.Task.State(p.d.Ctx(), &task.StateRequest{Id: c.ContainerID, ExecId: exec})
		if err == nil {
			return int(s.Pid)
		}
		return p.pids[strings.TrimSpace(c.ContainerID+" "+exec)] // the daemon is away
	}
	pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err := errors.Join(err, bad); err != nil {
		p.t.Fatal(err)
	}
	return pid
}

// request sends a request. Its answer is one of package task's player.
func (p *storyPlayer) request(f []string) *storyRequest {
	r := &storyRequest{text: strings.Join(f, " "), done: make(chan struct{})}
	p.requests = append(p.requests, r)
	if f[0] == "create" {
		p.order = append(p.order, f[1])
	}
	c := p.container(f[1])
	var exec string
	if len(f) > 2 {
		exec = f[2]
	}
	go func() {
		defer close(r.done)
		answer, err := p.call(f, c, exec)
		if err != nil {
			answer = fmt.Sprintf("%s: %v", client.Code(err), err)
		}
		r.answer = answer
	}()
	return r
}

func (p *storyPlayer) call(f []string, c *harness.Container, exec string) (string, error) {
	ctx, id := p.d.Ctx(), f[1]
	if f[0] == "create" {
		return p.create(id)
	}
	if c == nil { // ask the shim that there is for what it does not know
		if c = p.container(p.order[0]); c == nil {
			return "", errors.New("there is no shim")
		}
	}
	shim := c.Shim.Task
	switch f[0] {
	case "start":
		resp, err := shim.Start(ctx, &task.StartRequest{Id: id, ExecId: exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("pid ", resp.Pid), nil
	case "exec":
		if err := unix.Mkfifo(codeFifo(c, exec), 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
			return "", err
		}
		spec, err := json.Marshal(client.DefaultProcess(readsCode(exec)...))
		if err != nil {
			return "", err
		}
		_, err = shim.Exec(ctx, &task.ExecProcessRequest{Id: id, ExecId: exec, Spec: &wkt.Any{Value: spec}})
		return "ok", err
	case "wait":
		resp, err := shim.Wait(ctx, &task.WaitRequest{Id: id, ExecId: exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("status ", resp.ExitStatus), nil
	case "delete":
		resp, err := shim.Delete(ctx, &task.DeleteRequest{Id: id, ExecId: exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("status ", resp.ExitStatus), nil
	case "state":
		resp, err := shim.State(ctx, &task.StateRequest{Id: id, ExecId: exec})
		if err != nil {
			return "", err
		}
		if resp.Status == types.Status_STOPPED {
			return fmt.Sprint("stopped ", resp.ExitStatus), nil
		}
		return strings.ToLower(resp.Status.String()), nil
	case "kill":
		_, err := shim.Kill(ctx, &task.KillRequest{Id: id, ExecId: exec, Signal: 9})
		return "ok", err
	case "pids":
		resp, err := shim.Pids(ctx, &task.PidsRequest{Id: id})
		if err != nil {
			return "", err
		}
		var pids []int
		for _, i := range resp.Processes {
			pids = append(pids, int(i.Pid))
		}
		slices.Sort(pids)
		return strings.Trim(fmt.Sprint(pids), "[]"), nil
	case "connect":
		resp, err := shim.Connect(ctx, &task.ConnectRequest{Id: id})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("pid ", resp.TaskPid), nil
	case "pause":
		_, err := shim.Pause(ctx, &task.PauseRequest{Id: id})
		return "ok", err
	case "resume":
		_, err := shim.Resume(ctx, &task.ResumeRequest{Id: id})
		return "ok", err
	}
	return "", fmt.Errorf("a real shim cannot be asked for %q", f[0])
}

// create makes a container in the shim of the first one.
func (p *storyPlayer) create(id string) (string, error) {
	w := harness.Want{ID: id, Args: readsCode(""), NoOutput: true, Options: p.stub.Options()}
	if id != p.order[0] {
		w.Sandbox = p.container(p.order[0])
	}
	c, err := p.d.TryCreate(w)
	if err != nil {
		return "", err
	}
	if err := unix.Mkfifo(codeFifo(c, ""), 0o600); err != nil {
		return "", err
	}
	p.mu.Lock()
	p.containers[id] = c
	p.mu.Unlock()
	s, err := c.State(p.d.Ctx())
	if err != nil {
		return "", err
	}
	return fmt.Sprint("pid ", s.Pid), nil
}

// end ends what the story has left.
func (p *storyPlayer) end() {
	p.stub.Set(nil)
	slices.Reverse(p.order)
	for _, id := range p.order {
		if c := p.container(id); c != nil {
			if err := c.Container.Kill(p.d.Ctx(), unix.SIGKILL); err == nil {
				c.Wait()
			}
			// The same answer where the story had it already; and with it the shim
			// ends if the story has deleted them all.
			if _, err := c.Container.Delete(p.d.Ctx()); errors.Is(err, ttrpc.ErrClosed) {
				c.Cleanup()
			} else if err != nil {
				p.t.Error(err)
			}
		}
	}
}
