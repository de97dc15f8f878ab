package task

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/holdfast-shim/holdfast/cgroup"
	"github.com/holdfast-shim/holdfast/process"
)

// starve gives c a group in which the test decides how many were killed for want
// of memory. Nothing is reported from it: it is as if every exit were faster than
// the kernel's report.
func starve(t *testing.T, c *container) (kills func(int)) {
	t.Helper()
	dir := t.TempDir()
	kills = func(n int) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("oom 0\noom_kill "+strconv.Itoa(n)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kills(0)
	s := &Service{machine: new(node)}
	c.oom = s.watchOOM(c, &cgroup.Group{Places: []cgroup.Place{{Path: "/c", Dir: dir}}})
	if c.oom == nil {
		t.Fatal("no watch")
	}
	t.Cleanup(c.oom.Close)
	return kills
}

func TestOOMIsToldBeforeTheExitOfInit(t *testing.T) {
	c, told := bare(t, true)
	kills := starve(t, c)
	become(t, c.init, process.Created, process.Starting, process.Running)
	kills(1)
	ends(c, c.init, 137)
	told.is(t, "oom", "exit c 137")
}

func TestOOMIsToldBeforeTheExitOfTheExecThatWasKilled(t *testing.T) {
	c, told := bare(t, true)
	kills := starve(t, c)
	become(t, c.init, process.Created, process.Starting, process.Running)
	first, second := c.add("e1"), c.add("e2")
	become(t, first, process.Starting, process.Running)
	become(t, second, process.Starting, process.Running)
	kills(1)
	ends(c, first, 137)
	told.is(t, "oom", "exit e1 137")
	ends(c, second, 0)
	kills(3)
	ends(c, c.init, 1)
	told.is(t, "oom", "exit e1 137", "exit e2 0", "oom", "exit c 1")
}

func TestOOMThatOutrunsTheStartIsToldAfterIt(t *testing.T) {
	c, told := bare(t, true)
	kills := starve(t, c)
	become(t, c.init, process.Created, process.Starting)
	kills(1)
	c.tellOOM() // the kernel's report
	ends(c, c.init, 137)
	told.is(t)
	become(t, c.init, process.Running)
	c.settle(c.init)
	told.is(t, "oom", "exit c 137")
}

func TestOOMIsToldWhileInitWaitsForTheEndsOfItsExecs(t *testing.T) {
	c, told := bare(t, true)
	kills := starve(t, c)
	become(t, c.init, process.Created, process.Starting, process.Running)
	e := c.add("e")
	become(t, e, process.Starting, process.Running)
	kills(1)
	ends(c, c.init, 137)
	told.is(t, "oom")
	ends(c, e, 137)
	told.is(t, "oom", "exit e 137", "exit c 137")
}

func TestNoOOMIsToldWithoutOneOrAfterTheExit(t *testing.T) {
	c, told := bare(t, true)
	kills := starve(t, c)
	become(t, c.init, process.Created, process.Starting, process.Running)
	c.tellOOM()
	ends(c, c.init, 137)
	kills(1) // what init left behind
	c.tellOOM()
	told.is(t, "exit c 137")
}
