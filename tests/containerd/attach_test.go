package containerd

import "testing"

func TestAttachShowsWhatComesAndTakesWhatIsTyped(t *testing.T) {
	d := start(t)
	g := d.gate()
	d.runWith(g.flags(), "c", "sh", "-c", "read line; echo got $line; echo err >&2; "+g.wait("end")+"exit 6")
	a := d.begin("task", "attach", "c")
	a.write("this\n")
	a.expect("got this\n")
	d.eventually("stderr is shown", func() error {
		if a.Err.Len() == 0 {
			return errNotYet
		}
		return nil
	})
	g.openDoor("end") // ctr throws away what it has not read when the container ends
	if code := a.code(); code != 6 {
		t.Errorf("attach ended with %d, want 6: %s", code, a.Err)
	}
	if out, err := a.Out.String(), a.Err.String(); out != "got this\n" || err != "err\n" {
		t.Errorf("stdout %q, stderr %q", out, err)
	}
	// Ctr deletes the task that it was attached to.
	d.story("c", "create", "start", "exit 6", "delete 6")
	d.must("container", "rm", "c")
}
