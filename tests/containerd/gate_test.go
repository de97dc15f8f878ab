package containerd

import (
	"os"
	"path/filepath"
	"strconv"
)

// gate is what containers wait at until the test lets them go on, without any
// word through containerd or a shim: a directory that they have at /mnt.
type gate struct {
	d   *daemon
	dir string
}

func (d *daemon) gate() *gate {
	d.t.Helper()
	dir, err := os.MkdirTemp(d.dir, "gate")
	if err != nil {
		d.t.Fatal(err)
	}
	return &gate{d, dir}
}

// flags are those of `ctr run` for a container that is to wait at the gate.
func (g *gate) flags() []string {
	return []string{"--mount", "type=bind,src=" + g.dir + ",dst=/mnt,options=rbind:rw"}
}

// script is a shell's that waits until the gate is open and then goes on with that.
func (g *gate) script(then string) string { return g.wait("open") + then }

// wait is a shell's that waits until that door is open.
func (g *gate) wait(door string) string {
	return "while ! [ -e /mnt/" + door + " ]; do sleep 0.02; done; "
}

// open lets everybody through, for ever.
func (g *gate) open() { g.d.t.Helper(); g.openDoor("open") }

// openDoor does so where the gate has several doors.
func (g *gate) openDoor(door string) {
	g.d.t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, door), nil, 0o644); err != nil {
		g.d.t.Fatal(err)
	}
}

// count is how many bytes somebody has written to a file behind the gate.
func (g *gate) count(name string) int64 {
	st, err := os.Stat(filepath.Join(g.dir, name))
	if err != nil {
		return 0
	}
	return st.Size()
}

// grows waits until somebody has written to a file behind the gate.
func (g *gate) grows(name string) {
	g.d.t.Helper()
	was := g.count(name)
	g.d.eventually(name+" grows beyond "+strconv.FormatInt(was, 10), func() error {
		if g.count(name) <= was {
			return errNotYet
		}
		return nil
	})
}
