package task

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
)

// judge holds what a shim tells and answers against the promises. It stands
// between the service and its queue, so that it sees every event at the moment
// at which the service decided about it.
type judge struct {
	w    *world
	next publisher // the queue

	mu        sync.Mutex // guards everything below; may be held when the world's lock is taken
	lives     map[string]*life
	published []string
	full      bool // the story says so: a queue that is full takes a long one
	wrong     []string
}

// life is what was told of a container: from its create to its delete.
type life struct {
	bundle   string
	restored bool // by its start: until that was told init has no pid
	init     told
	execs    map[string]*told
	ooms     int // how many kills had come by the last OOM event
	frozen   bool
	deleted  bool
}

// told is what was told of a process.
type told struct {
	pid             int
	started, exited bool
}

// unmade reports whether nothing of the container has run: it is yet to be restored.
func (l *life) unmade() bool { return l.restored && !l.init.started }

func (j *judge) blame(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.blameLocked(format, args...)
}

func (j *judge) blameLocked(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

// verdict is the first thing that was wrong, or "".
func (j *judge) verdict() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.wrong) > 0 {
		return j.wrong[0]
	}
	return ""
}

func (j *judge) Publish(topic string, m proto.Message) { j.publish(topic, m, j.next.Publish) }

func (j *judge) PublishOnce(topic string, m proto.Message) { j.publish(topic, m, j.next.PublishOnce) }

// publish holds the event against the promises and passes it on.
func (j *judge) publish(topic string, m proto.Message, next func(string, proto.Message)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	line := messageLine(strings.TrimPrefix(topic, "/tasks/"), m)
	if why := j.check(m); why != "" {
		j.blameLocked("event %q: %s", line, why)
	}
	j.published = append(j.published, line)
	next(topic, m)
}

func (j *judge) Full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.full
}

// check is why the event may not come now, "" if it may.
func (j *judge) check(m proto.Message) string {
	switch m := m.(type) {
	case *events.TaskCreate:
		if l := j.lives[m.ContainerId]; l != nil && !l.deleted {
			return "the container is there"
		}
		l := &life{bundle: m.Bundle, restored: m.Checkpoint != "", init: told{pid: int(m.Pid)}, execs: make(map[string]*told)}
		if l.restored != (m.Pid == 0) {
			return fmt.Sprintf("of process %d, and it is to be restored: %v", m.Pid, l.restored)
		}
		j.lives[m.ContainerId] = l
	case *events.TaskStart:
		l, why := j.life(m.ContainerId)
		switch {
		case why != "":
			return why
		case l.init.started:
			return "a second time"
		case l.init.exited:
			return "after the exit"
		case l.restored:
			l.init.pid = int(m.Pid)
		case int(m.Pid) != l.init.pid:
			return fmt.Sprintf("of process %d, and %d was created", m.Pid, l.init.pid)
		}
		switch {
		case !j.soul(l.init.pid).box.started:
			return "its program was not started"
		}
		l.init.started = true
	case *events.TaskExecAdded:
		l, why := j.life(m.ContainerId)
		switch {
		case why != "":
			return why
		case l.init.exited:
			return "after init's exit"
		case l.execs[m.ExecId] != nil && l.execs[m.ExecId].started && !l.execs[m.ExecId].exited:
			return "it runs"
		}
		l.execs[m.ExecId] = new(told)
	case *events.TaskExecStarted:
		l, why := j.life(m.ContainerId)
		if why != "" {
			return why
		}
		switch e := l.execs[m.ExecId]; {
		case e == nil:
			return "it was not added"
		case e.started:
			return "a second time"
		case l.init.exited:
			return "after init's exit"
		default:
			e.started, e.pid = true, int(m.Pid)
		}
	case *events.TaskExit:
		l, why := j.life(m.ContainerId)
		if why != "" {
			return why
		}
		return j.exit(l, m)
	case *events.TaskOOM:
		l, why := j.life(m.ContainerId)
		switch kills := j.kills(m.ContainerId); {
		case why != "":
			return why
		case l.init.exited:
			return "after init's exit"
		case kills == l.ooms:
			return "nothing was killed since the last"
		default:
			l.ooms = kills
		}
	case *events.TaskCheckpointed:
		_, why := j.life(m.ContainerId)
		return why // with exit it comes after the exit
	case *events.TaskPaused:
		return j.freeze(m.ContainerId, true)
	case *events.TaskResumed:
		return j.freeze(m.ContainerId, false)
	case *events.TaskDelete:
		l, why := j.life(m.ContainerId)
		switch {
		case why != "":
			return why
		case !l.init.exited && !l.unmade():
			return "before the exit"
		case j.known(m.ContainerId):
			return "the runtime has it still"
		}
		l.deleted = true
	}
	return ""
}

func (j *judge) life(id string) (*life, string) {
	switch l := j.lives[id]; {
	case l == nil:
		return nil, "before create"
	case l.deleted:
		return nil, "after delete"
	default:
		return l, ""
	}
}

// exit is the heart of it.
func (j *judge) exit(l *life, m *events.TaskExit) string {
	p := &l.init
	if m.Id != m.ContainerId {
		if p = l.execs[m.Id]; p == nil || !p.started {
			return "before its start"
		}
		if l.init.exited {
			return "after init's exit"
		}
	} else {
		if j.underWay(m.ContainerId, "start") || l.unmade() {
			return "while its start is under way"
		}
		for id, e := range l.execs {
			if e.started && !e.exited {
				return "before that of exec " + id
			}
		}
		if r, err := bundle.ReadExitRecord(l.bundle); err != nil || r.Status != m.ExitStatus || r.Pid != int(m.Pid) {
			return fmt.Sprintf("the bundle's record says %+v, %v", r, err)
		}
	}
	s := j.soul(p.pid)
	switch {
	case p.exited:
		return "a second time"
	case int(m.Pid) != p.pid:
		return fmt.Sprintf("of process %d, and %d was started", m.Pid, p.pid)
	case !s.ended:
		return "it lives"
	case s.status != m.ExitStatus:
		return fmt.Sprintf("it ended with %d", s.status)
	case s.oom > l.ooms:
		return "before the OOM event that says why"
	}
	p.exited = true
	return ""
}

// underWay reports whether the runtime is at work on init.
func (j *judge) underWay(id, verb string) bool {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return j.held(id, "", verb)
}

func (j *judge) freeze(id string, frozen bool) string {
	l, why := j.life(id)
	switch {
	case why != "":
		return why
	case l.init.exited:
		return "after init's exit"
	case l.frozen == frozen:
		return "it is so already"
	}
	l.frozen = frozen
	return ""
}

func (j *judge) soul(pid int) soul {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return *j.w.souls[pid-1]
}

// known reports whether the runtime knows the container.
func (j *judge) known(id string) bool {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	return j.w.boxes[id] != nil
}

// kills is how many kills for want of memory the shim has heard of.
func (j *judge) kills(id string) int {
	j.w.mu.Lock()
	defer j.w.mu.Unlock()
	if b := j.w.boxes[id]; b != nil {
		return b.asked
	}
	return 0
}

// lockAll is for a look at the world and at what was told of it at one moment.
func (j *judge) lockAll() (unlock func()) {
	j.mu.Lock()
	j.w.mu.Lock()
	return func() {
		j.w.mu.Unlock()
		j.mu.Unlock()
	}
}

// quiet is for a moment in which every goroutine waits for something: it says
// whether they may. Pending are the requests that were not answered.
func (j *judge) quiet(pending []*request) {
	defer j.lockAll()()
	for _, s := range j.w.souls {
		if s.heard && !j.mayBeUntold(s) {
			j.blameLocked("the end of process %d (%s) is not told though nothing holds it up", s.pid, words(s.box.id, s.exec))
		}
		if s.ended || j.held(s.box.id, s.exec, making...) {
			continue
		}
		if s.box.init.heard {
			j.blameLocked("process %d (%s) outlives its container's init", s.pid, words(s.box.id, s.exec))
		}
		if !s.adopted && !j.held(s.box.id, "", "delete") {
			j.blameLocked("process %d (%s) is nobody's", s.pid, words(s.box.id, s.exec))
		}
	}
	for id, b := range j.w.boxes {
		l := j.lives[id]
		if l != nil && !b.init.ended && l.init.pid == b.init.pid && l.frozen != b.frozen && !j.held(id, "", "pause", "resume") {
			j.blameLocked("container %s is frozen: %v, and what was told: %v", id, b.frozen, l.frozen)
		}
	}
	for _, r := range pending {
		if !j.mayWait(r) {
			j.blameLocked("%q waits though nothing holds it up", r.text)
		}
	}
}

// retired is for the moment in which a shim that was asked to end does: no container
// may run that it leaves alone.
func (j *judge) retired() {
	defer j.lockAll()()
	for id, b := range j.w.boxes {
		if l := j.lives[id]; l != nil && !l.deleted && l.init.pid == b.init.pid && !b.init.ended {
			j.blameLocked("the shim ends and container %s runs", id)
		}
	}
}

// mayStay is for a quiet moment of a shim that was asked to end: it stays for a
// container that runs, or is being made.
func (j *judge) mayStay() {
	defer j.lockAll()()
	for _, s := range j.w.souls {
		if s.exec == "" && !s.heard {
			return
		}
	}
	for _, p := range j.w.parked {
		if p.exec == "" {
			return
		}
	}
	j.blameLocked("asked to end, the shim stays though no container runs")
}

// held reports whether a call about that process is parked. All locks are held.
func (j *judge) held(id, exec string, verbs ...string) bool {
	for _, p := range j.w.parked {
		if p.id != id || p.exec != exec {
			continue
		}
		for _, v := range verbs {
			if p.verb == v {
				return true
			}
		}
	}
	return false
}

// making are the calls that lead to a process, or to init's program.
var making = []string{"create", "restore", "start", "exec", "adopt", "group"}

// slow are the calls that take turns on init.
var slow = []string{"start", "restore", "pause", "resume", "update", "checkpoint", "delete"}

// mayBeUntold reports whether the shim may know of the end of s and say nothing.
func (j *judge) mayBeUntold(s *soul) bool {
	l := j.lives[s.box.id]
	id := s.box.id
	if l == nil || l.deleted {
		return true // of a create that failed, or of a container that is over
	}
	if s.exec != "" {
		e := l.execs[s.exec]
		return e == nil || e.pid != s.pid || e.exited || j.held(id, s.exec, making...)
	}
	return l.init.pid != s.pid || l.init.exited || j.held(id, "", making...) || j.execIsAwaited(l, id)
}

// execIsAwaited reports whether the end of one of its execs is still to come, which
// init's waits for.
func (j *judge) execIsAwaited(l *life, id string) bool {
	for exec, e := range l.execs {
		if j.held(id, exec, making...) || e.started && !e.exited && !j.w.souls[e.pid-1].heard {
			return true
		}
	}
	return false
}

// mayWait reports whether there is a reason for a request to have no answer yet:
// its own run of the runtime, one on the same process, or, for those that are to
// wait for it, an end that did not come.
func (j *judge) mayWait(r *request) bool {
	l := j.lives[r.id]
	slow := slow
	if l != nil && !l.deleted && l.unmade() {
		slow = append(slices.Clone(slow), "adopt", "group") // it is its start that does these
	}
	switch r.verb {
	case "create":
		return j.held(r.id, "", "create", "adopt", "group", "delete")
	case "start":
		if r.exec != "" {
			return j.held(r.id, r.exec, "exec", "adopt")
		}
		return j.held(r.id, "", slow...) || j.endIsAwaited(l, r.id)
	case "pause", "resume", "update", "checkpoint", "delete":
		if r.exec != "" {
			return j.held(r.id, r.exec, "exec", "adopt")
		}
		if r.verb == "delete" && j.held(r.id, "", "create", "adopt", "group") {
			return true // it waits until that is undone
		}
		return j.held(r.id, "", slow...) || j.endIsAwaited(l, r.id)
	case "kill":
		return j.held(r.id, "", "kill")
	case "wait":
		switch {
		case l == nil:
			return false
		case r.exec == "":
			return !l.init.exited && !l.deleted
		}
		// One that was added and not started has nothing to tell yet.
		e := l.execs[r.exec]
		return e != nil && !e.exited && !l.deleted
	}
	return false
}

// endIsAwaited reports whether a Delete may be waiting for the end of a created
// init, or a checkpoint for that of one that it has ended: one that was not
// delivered, or that waits for those of execs.
func (j *judge) endIsAwaited(l *life, id string) bool {
	if l == nil || l.deleted || l.init.exited || l.unmade() {
		return false
	}
	return !j.w.souls[l.init.pid-1].heard || j.execIsAwaited(l, id)
}
