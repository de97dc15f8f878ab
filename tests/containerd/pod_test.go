package containerd

import (
	"testing"
)

const (
	groupAnnotation   = "io.containerd.runc.v2.group"
	sandboxAnnotation = "io.kubernetes.cri.sandbox-id"
)

// grouped are the flags of `ctr run` for a container of a pod.
func (d *daemon) grouped(group string) []string {
	d.expect(group)
	return []string{"--annotation", groupAnnotation + "=" + group}
}

func TestContainersOfAPodShareAShimThatLivesAsLongAsOneOfThem(t *testing.T) {
	for _, with := range []struct{ flag, annotation string }{
		{"--annotation", groupAnnotation},
		{"--annotation", sandboxAnnotation},
		{"--label", groupAnnotation}, // ctr makes an annotation of a label, too
	} {
		t.Run(with.flag+" "+with.annotation, func(t *testing.T) {
			d := start(t)
			d.expect("pod")
			flags := []string{with.flag, with.annotation + "=pod"}
			pid := d.runWith(flags, "c1", "sleep", "1000")
			shim := d.hold(pid)
			for _, id := range []string{"c2", "c3"} {
				if got := d.runWith(flags, id, "sleep", "1000"); got != pid {
					t.Errorf("the shim of %s is %d, that of the first %d", id, got, pid)
				}
			}
			if got := d.run("alone", "sleep", "1000"); got == pid {
				t.Error("a container that is not of the pod has its shim")
			}
			// The first is no more than the others.
			d.finish("c1")
			if !alive(shim) {
				t.Fatal("the shim is gone with the first container")
			}
			if s := d.exec("c2", "x", "sh", "-c", "exit 4"); s.code() != 4 {
				t.Errorf("exec in the second after the end of the first: %d, %s", s.code(), s.Err)
			}
			// The place is free for another.
			if got := d.runWith(flags, "c1", "sleep", "1000"); got != pid {
				t.Errorf("the shim of a latecomer is %d, not %d", got, pid)
			}
			d.finish("c3")
			d.finish("c1")
			if !alive(shim) || d.shimOf("c2") != pid {
				t.Fatal("the shim is gone before the last container")
			}
			d.finish("c2")
			d.ended("the shim of a pod without containers", shim)
			d.finish("alone")
			// And for another pod of that name.
			d.runWith(flags, "c2", "sleep", "1000")
			d.finish("c2")
		})
	}
}

func TestTheGroupsAnnotationCountsBeforeTheSandboxes(t *testing.T) {
	d := start(t)
	sandbox := []string{"--annotation", sandboxAnnotation + "=sandbox"}
	d.expect("sandbox")
	one := d.runWith(append(d.grouped("pod"), sandbox...), "c1", "sleep", "1000")
	if two := d.runWith(sandbox, "c2", "sleep", "1000"); two == one {
		t.Error("a container of the sandbox went to the group's shim")
	}
	if three := d.runWith(d.grouped("pod"), "c3", "sleep", "1000"); three != one {
		t.Error("a container of the group did not go to the group's shim")
	}
	for _, id := range []string{"c1", "c2", "c3"} {
		d.finish(id)
	}
}

func TestAPodIsFoundAgainByARestartedContainerd(t *testing.T) {
	d := start(t)
	g := d.gate()
	pid := d.runWith(d.grouped("pod"), "c1", "sleep", "1000")
	d.runWith(append(d.grouped("pod"), g.flags()...), "c2", "sh", "-c", g.script("exit 5"))
	task, _ := d.task("c2")
	init := d.hold(task.pid)
	d.kill()
	g.open()
	d.ended("init of the second", init)
	d.up()
	d.stopped("c2")
	if got := d.shimOf("c1"); got != pid {
		t.Errorf("the shim was %d and is %d", pid, got)
	}
	if code := d.begin("task", "attach", "c2").code(); code != 5 {
		t.Errorf("the second ended with %d, want 5", code)
	}
	d.must("container", "rm", "c2")
	if got := d.runWith(d.grouped("pod"), "c3", "sleep", "1000"); got != pid {
		t.Errorf("a container after the restart has the shim %d, not %d", got, pid)
	}
	d.finish("c3")
	d.finish("c1")
}

func TestAShimThatIsKilledTakesItsWholePodWithIt(t *testing.T) {
	d := start(t)
	d.runWith(d.grouped("pod"), "c1", "sleep", "1000")
	d.runWith(d.grouped("pod"), "c2", "sleep", "1000")
	d.killShim("c1", "c2")
	for _, id := range []string{"c1", "c2"} {
		d.event(id, "delete 137")
	}
	gone(t, d, "c1", 137)
	gone(t, d, "c2", 137)
	// The pod can be made again.
	d.must("task", "start", "-d", "--fifo-dir", d.fifos(), "c1")
	d.must("task", "start", "-d", "--fifo-dir", d.fifos(), "c2")
	if one, two := d.shimOf("c1"), d.shimOf("c2"); one != two {
		t.Errorf("the containers have the shims %d and %d", one, two)
	}
	d.finish("c1")
	d.finish("c2")
}
