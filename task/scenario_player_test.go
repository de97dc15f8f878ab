package task

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/events"
	"github.com/holdfast-shim/holdfast/log"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// player plays a story against a service. The commands of a client:
//
//	create ID [shared] [restored]   shared: it has no pid namespace of its own; restored: from a checkpoint
//	start|wait|state|delete ID [EXEC]
//	exec ID EXEC
//	kill ID [EXEC] [SIGNAL] [all]
//	pids|pause|resume|update|connect ID
//	checkpoint ID [exit]
//	shutdown
//	cancel REQUEST           the client of a request that waits goes away
//
// and of the world, which is still otherwise:
//
//	exit ID [EXEC] STATUS    a process ends
//	oom ID [EXEC]            a process is killed for want of memory
//	report ID                the kernel reports that
//	hold|let adopt|group|exits   what the shim does between two steps, and ends, wait for a word
//	deliver ID [EXEC]        the word for an end
//	runtime VERB ok|stuck|stuck-after|fails|fails-after|nothing   how its next calls go; after: when the work is done
//	release VERB ID [EXEC] [fails]   the word for a call, also of adopt and group
//	daemon takes|away|stalls|forgets
//	advance DURATION         the time, which stands still otherwise
//	retire                   a signal asks the shim to end
//
// Each command is played until everything waits for something. One that begins
// with "& " is played together with the next. A command that makes no sense where
// it stands does nothing, so that lines can be left out of a story.
type player struct {
	w     *world
	d     *fakeDaemon
	j     *judge
	queue *events.Queue
	svc   *Service
	dir   string // of the bundles
	image string // what containers are restored from

	repeats bool // the daemon may have been told something twice
	made    int  // bundles
	told    int  // of what the daemon took, in the results so far

	retiring bool // asked to end by a signal

	mu       sync.Mutex // guards everything below
	retired  bool       // and may: no container runs
	down     int        // how often the shim was to end by itself
	requests []*request
	asked    int        // of requests, in the results so far
	answered []*request // since the last result
	endings  []string   // of the shim, since the last result
}

type request struct {
	n              int
	text           string
	verb, id, exec string
	cancel         context.CancelFunc
	done           bool
	answer         string
}

// newPlayer is for the inside of a bubble.
func newPlayer(dir string) *player {
	p := &player{dir: dir, image: filepath.Join(dir, "image"), d: &fakeDaemon{changed: make(chan struct{})}}
	p.j = &judge{lives: make(map[string]*life)}
	p.w = newWorld(p.j.blame)
	p.queue = events.New("ns", p.d, log.Discard())
	p.j.w, p.j.next = p.w, p.queue
	p.svc = New(Config{
		Namespace: "ns",
		Events:    p.j,
		Log:       log.Discard(),
		Shutdown: func() {
			p.mu.Lock()
			p.down++
			p.mu.Unlock()
		},
	})
	p.svc.machine = p.w
	err := os.Mkdir(p.image, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.image, "inventory.img"), nil, 0o600)
	}
	if err != nil {
		p.j.blame("the stories' image: %v", err)
	}
	return p
}

// play plays lines and returns what came of them. It stops at the first thing
// that is wrong.
func (p *player) play(lines []string) (result []string) {
	for _, line := range lines {
		now, together := strings.CutPrefix(line, "& ")
		p.do(strings.Fields(now))
		if together {
			continue
		}
		result = append(result, p.settle()...)
		if p.j.verdict() != "" {
			return result
		}
	}
	return append(result, p.settle()...)
}

// settle waits until all is quiet and returns what has happened.
func (p *player) settle() (result []string) {
	synctest.Wait()
	p.j.quiet(p.pending())
	p.mu.Lock()
	stays := p.retiring && !p.retired
	p.mu.Unlock()
	if stays {
		p.j.mayStay()
	}
	p.d.mu.Lock()
	for _, e := range p.d.took[p.told:] {
		result = append(result, "event: "+e)
	}
	p.told = len(p.d.took)
	p.d.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.answered, func(a, b *request) int { return a.n - b.n })
	for _, r := range p.answered {
		result = append(result, r.text+": "+r.answer)
	}
	result = append(result, p.endings...)
	p.answered, p.endings = nil, nil
	for _, r := range p.requests[p.asked:] {
		if !r.done {
			result = append(result, r.text+": waits")
		}
	}
	p.asked = len(p.requests)
	return result
}

func (p *player) pending() []*request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.requests), func(r *request) bool { return r.done })
}

func (p *player) do(f []string) {
	if len(f) == 0 {
		return
	}
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	switch f[0] {
	case "exit":
		code, err := strconv.Atoi(f[len(f)-1])
		if err == nil {
			p.w.exit(arg(1), strings.Join(f[2:len(f)-1], ""), uint32(code), false)
		}
	case "oom":
		p.w.exit(arg(1), arg(2), 137, true)
	case "report":
		p.w.report(arg(1))
	case "hold":
		p.w.hold(arg(1), true)
	case "let":
		p.w.hold(arg(1), false)
	case "deliver":
		p.w.deliverOf(arg(1), arg(2))
	case "runtime":
		p.w.mode(arg(1), arg(2))
	case "release":
		name, fails := strings.CutSuffix(strings.Join(f[1:], " "), " fails")
		word := ""
		if fails {
			word = "it fails when it is let go"
		}
		p.w.release(name, word)
	case "daemon":
		p.repeats = p.repeats || arg(1) == "forgets" || arg(1) == "stalls"
		p.d.become(strings.TrimSuffix(arg(1), "takes"))
	case "retire":
		p.retire()
	case "advance":
		if d, err := time.ParseDuration(arg(1)); err == nil {
			time.Sleep(d)
		}
	case "cancel":
		text := strings.Join(f[1:], " ")
		for _, r := range p.pending() {
			if r.text == text {
				r.cancel()
				break
			}
		}
	default:
		p.request(f)
	}
}

// retire asks the shim to end when no container runs.
func (p *player) retire() {
	if p.retiring {
		return
	}
	p.retiring = true
	go func() {
		p.svc.Retire()
		p.j.retired()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.retired = true
		p.endings = append(p.endings, "the shim ends")
	}()
}

// request sends a client's request.
func (p *player) request(f []string) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &request{text: strings.Join(f, " "), verb: f[0], cancel: cancel}
	rest := f[1:]
	flag := func(name string) bool {
		i := slices.Index(rest, name)
		if i >= 0 {
			rest = slices.Delete(slices.Clone(rest), i, i+1)
		}
		return i >= 0
	}
	shared, restored, all, exit := flag("shared"), flag("restored"), flag("all"), flag("exit")
	signal := uint32(9)
	if len(rest) > 1 {
		if n, err := strconv.Atoi(rest[len(rest)-1]); err == nil {
			signal, rest = uint32(n), rest[:len(rest)-1]
		}
	}
	if len(rest) > 0 {
		r.id = rest[0]
	}
	if len(rest) > 1 {
		r.exec = rest[1]
	}
	var bundle string
	if r.verb == "create" {
		bundle = p.bundle(r.id, shared)
	}
	p.mu.Lock()
	r.n = len(p.requests)
	p.requests = append(p.requests, r)
	p.mu.Unlock()
	go func() {
		answer, err := p.call(ctx, r, bundle, signal, all || exit || restored)
		if err != nil {
			s := status.Convert(err)
			answer = fmt.Sprintf("%s: %s", s.Code(), strings.ReplaceAll(s.Message(), p.dir, ""))
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		r.done, r.answer = true, answer
		p.answered = append(p.answered, r)
	}()
}

func (p *player) bundle(id string, shared bool) string {
	p.made++
	dir := filepath.Join(p.dir, strconv.Itoa(p.made))
	config := `{"linux":{"namespaces":[{"type":"pid"}]}}`
	if shared {
		config = "{}"
	}
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600)
	}
	if err != nil {
		p.j.blame("the story's bundle of %s: %v", id, err)
	}
	return dir
}

func (p *player) call(ctx context.Context, r *request, bundle string, signal uint32, more bool) (string, error) {
	switch r.verb {
	case "create":
		var image string
		if more {
			image = p.image
		}
		resp, err := p.svc.Create(ctx, &task.CreateTaskRequest{Id: r.id, Bundle: bundle, Checkpoint: image})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("pid ", resp.Pid), nil
	case "start":
		resp, err := p.svc.Start(ctx, &task.StartRequest{Id: r.id, ExecId: r.exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("pid ", resp.Pid), nil
	case "exec":
		_, err := p.svc.Exec(ctx, &task.ExecProcessRequest{Id: r.id, ExecId: r.exec, Spec: &wkt.Any{Value: []byte("{}")}})
		return "ok", err
	case "wait":
		resp, err := p.svc.Wait(ctx, &task.WaitRequest{Id: r.id, ExecId: r.exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("status ", resp.ExitStatus), nil
	case "delete":
		resp, err := p.svc.Delete(ctx, &task.DeleteRequest{Id: r.id, ExecId: r.exec})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("status ", resp.ExitStatus), nil
	case "state":
		resp, err := p.svc.State(ctx, &task.StateRequest{Id: r.id, ExecId: r.exec})
		if err != nil {
			return "", err
		}
		if resp.Status == types.Status_STOPPED {
			return fmt.Sprint("stopped ", resp.ExitStatus), nil
		}
		return strings.ToLower(resp.Status.String()), nil
	case "kill":
		_, err := p.svc.Kill(ctx, &task.KillRequest{Id: r.id, ExecId: r.exec, Signal: signal, All: more})
		return "ok", err
	case "pids":
		resp, err := p.svc.Pids(ctx, &task.PidsRequest{Id: r.id})
		if err != nil {
			return "", err
		}
		pids := make([]int, 0, len(resp.Processes))
		for _, i := range resp.Processes {
			pids = append(pids, int(i.Pid))
		}
		slices.Sort(pids)
		return strings.Trim(fmt.Sprint(pids), "[]"), nil
	case "connect":
		resp, err := p.svc.Connect(ctx, &task.ConnectRequest{Id: r.id})
		if err != nil {
			return "", err
		}
		return fmt.Sprint("pid ", resp.TaskPid), nil
	case "pause":
		_, err := p.svc.Pause(ctx, &task.PauseRequest{Id: r.id})
		return "ok", err
	case "resume":
		_, err := p.svc.Resume(ctx, &task.ResumeRequest{Id: r.id})
		return "ok", err
	case "update":
		_, err := p.svc.Update(ctx, &task.UpdateTaskRequest{Id: r.id, Resources: &wkt.Any{Value: []byte("{}")}})
		return "ok", err
	case "checkpoint":
		options, err := proto.Pack(&runcopts.CheckpointOptions{Exit: more})
		if err != nil {
			return "", err
		}
		_, err = p.svc.Checkpoint(ctx, &task.CheckpointTaskRequest{Id: r.id, Path: filepath.Join(p.dir, "image-"+strconv.Itoa(r.n)), Options: options})
		return "ok", err
	case "shutdown":
		_, err := p.svc.Shutdown(ctx, &task.ShutdownRequest{})
		return "ok", err
	}
	return "no such command", nil
}

// finish lets everything happen that was held up, ends what lives, deletes what
// is there and sees that nothing is owed: every request answered, every event
// delivered in the order in which it was published.
func (p *player) finish() {
	p.d.become("")
	p.w.letGo()
	synctest.Wait()
	p.w.endAll()
	synctest.Wait()
	p.w.endAll() // what came by a start that was under way
	p.settle()
	for _, id := range slices.Sorted(maps.Keys(p.j.lives)) {
		p.request([]string{"delete", id})
	}
	p.settle()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	for id, l := range p.j.lives {
		if !l.deleted {
			p.j.blame("container %s could not be deleted in the end", id)
		}
	}
	for _, r := range p.pending() {
		p.j.blame("%q is not answered in the end", r.text)
	}
	if n := p.svc.Containers(); n > 0 {
		p.j.blame("%d containers are left in the end", n)
	}
	p.delivered()
	if p.retiring {
		if !p.retired {
			p.j.blame("a shim that was asked to end did not")
		}
	} else if p.down != 1 {
		p.j.blame("a shim without containers was left for ten minutes, and was to end %d times", p.down)
	}
}

// delivered compares what the daemon took with what was published. The same event
// again, after an answer that was lost, is no fault, and an OOM that happens again
// before the daemon was told of the first may be told once.
func (p *player) delivered() {
	next := 0
	skip := func(line string) {
		for ; next < len(p.j.published) && p.j.published[next] != line; next++ {
			again := p.j.published[next]
			if !strings.HasPrefix(again, "oom ") || !slices.Contains(p.j.published[:next], again) {
				return
			}
		}
	}
	for _, line := range p.d.took {
		if p.repeats && next > 0 && line == p.j.published[next-1] && (next == len(p.j.published) || line != p.j.published[next]) {
			continue
		}
		skip(line)
		switch {
		case next < len(p.j.published) && line == p.j.published[next]:
			next++
		default:
			p.j.blame("the daemon was told %q, and what was published before was %q", line, p.j.published[:next])
			return
		}
	}
	skip("")
	if lost := p.j.published[next:]; len(lost) > 0 {
		p.j.blame("never delivered: %q", lost)
	}
}

// close ends all goroutines, whatever state the service is in.
func (p *player) close() {
	p.w.letGo()
	for _, r := range p.pending() {
		r.cancel()
	}
	synctest.Wait()
	p.w.endAll()
	time.Sleep(10 * time.Minute)
	synctest.Wait()
	p.svc.idle.busy()
	if p.retiring && !p.retired {
		fmt.Fprintln(os.Stderr, p.j.verdict()) // the bubble is about to panic
	}
	_ = p.queue.Close()
	close(p.w.ends)
	<-p.w.gone
}

// What a story may have happen in the world.

func (w *world) exit(id, exec string, status uint32, oom bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.living(id, exec)
	if s == nil || s.box.frozen {
		return
	}
	if oom {
		s.box.kills++
		if s.box.wake != nil { // else nobody can know
			s.oom = s.box.kills
		}
	}
	w.end(s, status)
}

// living is the process that lives, or nil. The lock is held.
func (w *world) living(id, exec string) *soul {
	for _, s := range w.souls {
		if s.box.id == id && s.exec == exec && !s.ended {
			return s
		}
	}
	return nil
}

func (w *world) report(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b := w.boxes[id]; b != nil && b.wake != nil {
		go b.wake()
	}
}

func (w *world) hold(what string, held bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holds[what] = held
	if held {
		return
	}
	if what == "exits" {
		for _, s := range w.souls {
			w.deliver(s)
		}
		return
	}
	for _, p := range slices.Clone(w.parked) {
		if p.verb == what {
			p.word <- ""
			w.parked = slices.DeleteFunc(w.parked, func(q *parked) bool { return q == p })
		}
	}
}

func (w *world) deliverOf(id, exec string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.souls {
		if s.box.id == id && s.exec == exec && s.ended && s.adopted && !s.sent {
			w.deliver(s)
			return
		}
	}
}

func (w *world) mode(verb, mode string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.modes[verb] = mode
}

// letGo has nothing wait any more.
func (w *world) letGo() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free = true
	clear(w.holds)
	for _, p := range w.parked {
		p.word <- ""
	}
	w.parked = nil
	for _, s := range w.souls {
		w.deliver(s)
	}
}

func (w *world) endAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.souls {
		s.box.frozen = false
		w.end(s, 137)
	}
}
