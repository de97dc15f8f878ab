package task

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/reaper"
)

// busyMachine is one on which the number of an init that was reaped is another's at
// once, so that a group is found by it.
type busyMachine struct{ machine }

func (busyMachine) group(int) (group, error) { return fakeGroup{}, nil }

func (busyMachine) watchOOM(group, func()) (oomWatch, error) { return &fakeOOM{}, nil }

// lastWord is a child of whom this is heard when it is sent a signal.
type lastWord struct{ err error }

func (lastWord) Pid() int                   { return 7 }
func (l lastWord) Signal(unix.Signal) error { return l.err }

// What is taken for the container's cgroup is killed, thawed and removed with it.
func TestTheGroupOfWhoHasTheInitsNumberNextIsNotTheContainers(t *testing.T) {
	s := &Service{machine: busyMachine{}}
	c, _ := bare(t, false)
	if g, oom := s.findGroup(c, lastWord{reaper.ErrGone}); g != nil || oom != nil {
		t.Errorf("init had ended, and %v (%v) was found by its number", g, oom)
	}
	if g, oom := s.findGroup(c, lastWord{nil}); g == nil || oom == nil {
		t.Errorf("init lives, and its group is not found: %v, %v", g, oom)
	}
}
