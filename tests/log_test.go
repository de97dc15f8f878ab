package tests

import (
	"net"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// A daemon's log shows a shim's as its own, and its errors alarm people.
func TestClientsThatGoAwayBeforeTheirAnswerAreNoErrors(t *testing.T) {
	d := harness.New(t)
	c := d.Create("sleep", "1000")
	c.Start()
	v := &victim{t: t, d: d, c: c, socket: strings.TrimPrefix(c.Shim.Endpoint.Address, "unix://")}
	payload, err := (&task.StateRequest{Id: c.ContainerID}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		conn, err := net.Dial("unix", v.socket)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint32(10) {
			v.send(conn, v.request(2*i+1, task.ServiceV3, "State", payload))
		}
		conn.Close()
	}
	v.newcomer()
	c.Finish()
	told := false
	for line := range strings.Lines(d.ShimLog.String()) {
		if !strings.HasPrefix(line, "{") || strings.Contains(line, `"level":"error"`) || strings.Contains(line, `"level":"warn"`) {
			t.Errorf("in the shim's log: %s", line)
		}
		told = told || strings.Contains(line, `"msg":"ttrpc"`)
	}
	if !told {
		t.Error("no client was gone before its answer: the test has shown nothing")
	}
}
