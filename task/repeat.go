package task

import (
	"slices"
	"sync"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// maxKept is how many answers are kept, the youngest: a client that asks again
// does so soon.
const maxKept = 64

// deletions keeps what Delete has answered, for the client that did not get it and
// asks again. The shim cannot tell which did: a client's giving up comes to it
// only with the connection's end or the request's deadline.
type deletions struct {
	mu   sync.Mutex // guards kept; nothing else is locked under it
	kept []kept     // the oldest first
}

type kept struct {
	id, exec string // exec is empty for init
	resp     *task.DeleteResponse
}

func (a *deletions) keep(id, exec string, resp *task.DeleteResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.kept) == maxKept {
		a.kept = slices.Delete(a.kept, 0, 1)
	}
	a.kept = append(a.kept, kept{id, exec, resp})
}

// find returns nil for what was not deleted here, or long ago.
func (a *deletions) find(id, exec string) *task.DeleteResponse {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.kept {
		if k.id == id && k.exec == exec {
			return k.resp
		}
	}
	return nil
}

// drop forgets the answers of a container, whose id is used again.
func (a *deletions) drop(id string) {
	a.dropIf(func(k kept) bool { return k.id == id })
}

// dropExec forgets the answer of an exec, whose id is used again.
func (a *deletions) dropExec(id, exec string) {
	a.dropIf(func(k kept) bool { return k.id == id && k.exec == exec })
}

func (a *deletions) dropIf(f func(kept) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept = slices.DeleteFunc(a.kept, f)
}
